"""TLS listeners of a real gateway: proxy, Admin API and status, with polite, slow and broken clients."""

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import websocket

from kong_gevent.client import Client, Unreachable
from kong_gevent.devtools import certificates
from tests.gateway import LOOPBACK, ROOT, Gateway, free_ports
from tests.integration.support import ask_everybody, cli
from tests.upstream import chunked, plain
from tests.wire import wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a server's certificate for the loopback address, a client's certificate."""
    return certificates.make(tmp_path_factory.mktemp("certificates"), [LOOPBACK], ["localhost", "a.test"])


@pytest.fixture(scope="module")
def ports():
    return free_ports(3)


class Node(Gateway):
    """A gateway that asks all clients for a certificate, if it is told whose; nobody has to show one."""

    trusted = None

    def reset(self, *collections):
        """See `Gateway.reset`; the route that has everybody asked stays."""
        super().reset(*collections)
        if self.trusted is not None:
            ask_everybody(self, self.trusted)


@pytest.fixture(scope="module", params=["silent", "asking"])
def node(request, files, ports):
    proxy, admin, status = ports
    with Node(start=False) as gateway:
        settings = gateway.settings
        settings["KONG_PROXY_LISTEN"] = f"{settings['KONG_PROXY_LISTEN']}, {LOOPBACK}:{proxy} ssl"
        settings["KONG_ADMIN_LISTEN"] = f"{settings['KONG_ADMIN_LISTEN']}, {LOOPBACK}:{admin} ssl"
        settings["KONG_STATUS_LISTEN"] = f"{settings['KONG_STATUS_LISTEN']}, {LOOPBACK}:{status} ssl"
        settings["KONG_SSL_CERT"], settings["KONG_SSL_CERT_KEY"] = str(files.server), str(files.server_key)
        settings["KONG_ADMIN_SSL_CLIENT_CA"] = str(files.ca)
        settings["KONG_ADMIN_SSL_CLIENT_VERIFY"] = "optional"
        settings["KONG_CLIENT_HEADER_TIMEOUT"] = "2"
        gateway.start()
        if request.param == "asking":
            gateway.trusted = gateway.create("/ca_certificates", cert=files.ca.read_text())["id"]
            gateway.reset()
        yield gateway


@pytest.fixture
def url(ports):
    return f"https://localhost:{ports[0]}"


@pytest.fixture
def echo(node, upstream):
    node.reset()
    upstream.clear()
    node.route(upstream.url, protocols=["http", "https"])
    return upstream


@pytest.fixture
def session(files):
    with requests.Session() as made:
        made.trust_env = False
        made.verify = str(files.ca)
        yield made


pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


def connect(port, **options):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection((LOOPBACK, port), 10), server_hostname="a.test")


def read_all(peer):
    parts = []
    while data := peer.recv(65536):
        parts.append(data)
    return b"".join(parts)


def test_a_request_and_what_the_upstream_is_told(echo, session, url, ports):
    told = {name.lower(): value for name, value in session.get(url + "/x").json()["headers"]}
    assert told["x-forwarded-proto"] == "https"
    assert told["x-forwarded-port"] == str(ports[0])
    assert told["x-forwarded-host"] == "localhost"


def test_who_is_asked_for_a_certificate(echo, node, ports):
    seen = set()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context._msg_callback = lambda sock, direction, version, kind, message, data: seen.add(message)
    context.wrap_socket(socket.create_connection((LOOPBACK, ports[0]), 10), server_hostname="a.test").close()
    assert (ssl._TLSMessageType.CERTIFICATE_REQUEST in seen) is (node.trusted is not None)


def test_keep_alive(echo, ports):
    with connect(ports[0]) as peer:
        for _ in range(5):
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_in_one_record(echo, ports):
    with connect(ports[0]) as peer:
        peer.sendall(b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n" * 3 + b"GET /4 HTTP/1.0\r\n\r\n")
        assert read_all(peer).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("size", [1, 16384, 16385, 3_000_000])
def test_large_bodies_both_ways(node, session, url, make_upstream, size):
    node.reset()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    server = make_upstream(lambda request: plain(request.body)(request))
    node.route(server.url)
    assert session.post(url, data=body).content == body
    assert session.post(url, data=iter([body[: size // 2], body[size // 2 :]])).content == body


def test_a_slow_reader_gets_everything(node, ports, make_upstream):
    node.reset()
    body = b"0123456789abcdef" * 500_000
    node.route(make_upstream(plain(body)).url)
    with connect(ports[0]) as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        answer = read_all(peer)
    assert answer.endswith(body)


def test_chunked_answers_stream(node, session, url, make_upstream):
    node.reset()
    node.route(make_upstream(chunked(b"a" * 20_000, b"b")).url)
    assert session.get(url).content == b"a" * 20_000 + b"b"


def test_routes_for_https_only_and_for_server_names(node, session, url, echo, ports):
    node.reset()
    service = node.create("/services", url=echo.url)
    node.create(f"/services/{service['id']}/routes", paths=["/only"], protocols=["https"])
    node.create(f"/services/{service['id']}/routes", paths=["/named"], protocols=["https"], snis=["a.test"])
    assert session.get(url + "/only").status_code == 200
    assert node.get("/only").status_code == 426
    assert session.get(url + "/named").status_code == 404
    with connect(ports[0]) as peer:
        peer.sendall(b"GET /named HTTP/1.0\r\n\r\n")
        assert read_all(peer).startswith(b"HTTP/1.1 200 OK")


def test_websocket(node, files, ports):
    from tests.integration.websockets import EchoServer

    node.reset()
    with EchoServer() as server:
        node.route(server.url)
        peer = websocket.create_connection(
            f"wss://localhost:{ports[0]}/", sslopt={"ca_certs": str(files.ca)}, timeout=10
        )
        for text in ("a", "b" * 100_000):
            peer.send(text)
            assert peer.recv() == text
        peer.close()


def test_tools_agree(echo, files, ports, tmp_path):
    output = ["-o", "/dev/null", "-w", "%{http_code}"]
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(files.ca), f"https://localhost:{ports[0]}/x", *output],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("200", "")
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", f"{LOOPBACK}:{ports[0]}", "-alpn", "h2,http/1.1", "-CAfile", str(files.ca)],
        input="", capture_output=True, text=True, timeout=20,
    ).stdout  # fmt: skip
    assert "ALPN protocol: http/1.1" in shown
    assert "Verify return code: 0 (ok)" in shown


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(echo, ports, version):
    with connect(ports[0], minimum_version=version, maximum_version=version) as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in read_all(peer)


def test_the_end_is_announced(echo, ports):
    """A client can tell a whole answer from one that was cut: `read_all` raises without the closing alert."""
    with connect(ports[0]) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b" 200 OK" in read_all(peer)


def errors_of(node, text):
    wait_until(lambda: text in node.log())
    return [line for line in node.log().splitlines() if text in line]


def test_clear_text_on_a_tls_port(node, ports):
    with socket.create_connection((LOOPBACK, ports[0]), 10) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = read_all(peer)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"message":"The plain HTTP request was sent to a port with HTTPS"}')


def test_broken_handshakes_cost_one_line_each(node, ports):
    before = node.log().count("TLS handshake")
    for garbage in (b"\x16\x03\x01\x00\x05hello", b"\x80" * 100, b"\x16\x03\x01\xff\xff" + b"\0" * 100_000):
        with socket.create_connection((LOOPBACK, ports[0]), 10) as peer:
            peer.sendall(garbage)
            try:
                read_all(peer)
            except ConnectionError:
                pass
    with socket.create_connection((LOOPBACK, ports[0]), 10) as peer:
        peer.sendall(b"\x16\x03\x01")
    wait_until(lambda: node.log().count("TLS handshake failed") >= before + 4)
    assert "TLS handshake failed: the client has gone" in node.log()
    assert "Traceback" not in node.log()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1}, "unsupported protocol"),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2, "set_ciphers": "AES128-SHA"}, "no shared cipher"),
        ({"verify_mode": ssl.CERT_REQUIRED}, "tlsv1 alert unknown ca"),
    ],
    ids=["version", "cipher", "authority"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_clients_that_do_not_agree_cost_one_line_each(node, ports, options, reason):
    text = f"TLS handshake failed: {reason}"
    before = node.log().count(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in options.items():
        if callable(getattr(context, name)):
            getattr(context, name)(value)
        else:
            setattr(context, name, value)
    with socket.create_connection((LOOPBACK, ports[0]), 10) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)
    wait_until(lambda: node.log().count(text) == before + 1)
    assert "Traceback" not in node.log() + node.log("output")


def test_dhe_for_clients_that_have_nothing_better(echo, ports):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    with context.wrap_socket(socket.create_connection((LOOPBACK, ports[0]), 10)) as peer:
        assert peer.cipher()[0] == "DHE-RSA-AES128-GCM-SHA256"
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in read_all(peer)


def test_a_handshake_that_hangs_is_ended(node, ports):
    with socket.create_connection((LOOPBACK, ports[0]), 20) as peer:
        peer.sendall(b"\x16\x03\x01\x02\x00\x01")
        for _ in range(3):  # dripping does not help
            time.sleep(0.5)
            peer.sendall(b"\x00")
        try:
            assert read_all(peer) == b""
        except ConnectionError:
            pass
    assert errors_of(node, "TLS handshake not done in 2 s")


def test_a_client_that_leaves_frees_the_upstream(node, ports, make_upstream):
    node.reset()
    from tests.upstream import Pause, script

    server = make_upstream(script(Pause(30)))
    node.route(server.url)
    with connect(ports[0]) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for(1)
    wait_until(lambda: " 499 " in node.log("access.log"))


def generated(node):
    """A file with the certificates that the Admin API has made for itself."""
    made = node.prefix / "ssl"
    trusted = made / "all.pem"
    trusted.write_text("".join((made / f"admin-kong-default{kind}.crt").read_text() for kind in ("", "-ecdsa")))
    return trusted


def test_the_admin_api_with_its_generated_certificate(node, files, ports):
    made = node.prefix / "ssl"
    assert {path.name for path in made.iterdir()} >= {"admin-kong-default.crt", "admin-kong-default-ecdsa.key"}
    assert (made / "admin-kong-default.key").stat().st_mode & 0o777 == 0o600
    address = f"https://localhost:{ports[1]}"
    trusted = generated(node)
    assert requests.get(address, verify=str(trusted), timeout=10).json()["tagline"] == "Welcome to kong"
    shown = requests.get(address, verify=str(trusted), cert=(str(files.client), str(files.client_key)), timeout=10)
    assert shown.json()["configuration"]["admin_listeners"][1]["ssl"] is True
    assert requests.get(f"https://localhost:{ports[2]}/status/ready", verify=False, timeout=10).status_code == 200


def test_live_traces_over_tls(echo, node, session, url, ports):
    """By the client library and by the command, at the Admin API's TLS port; nobody is trusted unseen."""
    admin, trusted = f"https://localhost:{ports[1]}", str(generated(node))
    with Client(admin, verify=trusted, timeout=30) as api:
        trace = api.trace(limit=2)
        try:
            assert next(trace)["type"] == "started"
            trace._socket.settimeout(30)
            assert session.get(url + "/encrypted").status_code == 200
            assert node.get("/clear").status_code == 200
            told = [next(trace), next(trace)]
        finally:
            trace.close()
    assert [(each["target"], each["status"]) for each in told] == [("/encrypted", 200), ("/clear", 200)]
    with Client(admin, timeout=30) as stranger, pytest.raises(Unreachable):
        stranger.trace()
    command = [sys.executable, "-m", "kong_gevent", "trace", "--limit", "1", "--addr", admin, "--ca", trusted]
    with subprocess.Popen(
        [*command, "-p", str(node.prefix)], env=node.environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "tracing 1 workers; Ctrl-C ends it\n"
        assert session.get(url + "/by-command").status_code == 200
        assert "/by-command" in process.stdout.read()
        assert process.wait(30) == 0


def test_client_certificates_may_be_required(make_gateway, files, tmp_path):
    (admin,) = free_ports(1)
    node = make_gateway(start=False, env={"admin_ssl_client_ca": str(files.ca)})
    node.settings["KONG_ADMIN_LISTEN"] += f", {LOOPBACK}:{admin} ssl"
    node.start()
    address = f"https://localhost:{admin}/status"
    with pytest.raises(requests.ConnectionError):
        requests.get(address, verify=False, timeout=10)
    own = certificates.make(Path(tmp_path) / "other", [LOOPBACK])
    with pytest.raises(requests.ConnectionError):
        requests.get(address, verify=False, timeout=10, cert=(str(own.client), str(own.client_key)))
    good = requests.get(address, verify=False, timeout=10, cert=(str(files.client), str(files.client_key)))
    assert good.status_code == 200


def test_the_command_line_shows_a_certificate_and_checks_the_servers(make_gateway, files, tmp_path):
    (admin,) = free_ports(1)
    certificate = {"admin_ssl_cert": str(files.server), "admin_ssl_cert_key": str(files.server_key)}
    node = make_gateway(start=False, env={"admin_ssl_client_ca": str(files.ca), "admin_auth": "token", **certificate})
    node.settings["KONG_ADMIN_LISTEN"] += f", {LOOPBACK}:{admin} ssl"
    node.start()
    secret = tmp_path / "token"
    secret.write_text(cli(node, "admin-token", "create", "ops").stdout)
    document = tmp_path / "kong.yml"
    document.write_text('_format_version: "3.0"\nservices:\n- name: over-tls\n  host: h\n')
    there = ("config", "diff", str(document), "--addr", f"https://localhost:{admin}")
    shown = ("--cert", str(files.client), "--key", str(files.client_key), "--token-file", str(secret))

    def asked(*options):
        done = cli(node, *there, *options)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    wait_until(lambda: asked(*shown, "--ca", str(files.ca))[0] == 0)
    assert "+ services over-tls" in asked(*shown, "--ca", str(files.ca))[1]
    assert "+ services over-tls" in asked(*shown, "--insecure")[1]
    assert asked(*shown)[0] == 1  # nobody whom the system knows vouches for the server
    assert asked("--ca", str(files.ca), "--token-file", str(secret))[0] == 1
    assert asked(*shown[:4], "--ca", str(files.ca))[0] == 1
    assert asked("--key", str(files.client_key))[0] == 1
    assert asked("--ca", str(tmp_path / "missing"))[0] != 0
