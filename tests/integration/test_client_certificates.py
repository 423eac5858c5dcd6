"""Client certificates on the proxy's TLS listeners: whom handshakes ask, and what mtls-auth makes of what they show."""

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import ask_once
from tests.pki import Authority, Pair, pair, serial_of
from tests.upstream import Upstream, plain
from tests.wire import Answer, Stream, read_answer, wait_until

ROOT, OTHER = Authority("Root"), Authority("Other root")
MIDDLE = Authority("Middle", ROOT)
ADA = ROOT.issue("ada")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MISSING, UNTRUSTED = b"No required TLS certificate was sent", b"TLS certificate failed verification"
numbers = count()


class TlsClient:
    """A connection that shows a certificate, if it has one and is asked for it, and sends requests."""

    def __init__(
        self,
        port: int,
        shown: Pair | None = None,
        name: str | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        session: Any = None,
        context: ssl.SSLContext | None = None,
        folder: Path | None = None,
        weak: bool = False,
    ) -> None:
        self.context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.minimum_version = self.context.maximum_version = version
        if weak:
            self.context.set_ciphers("DEFAULT@SECLEVEL=0")
        if shown is not None and folder is not None:
            self.context.load_cert_chain(*shown.files(folder))
        self.sock = self.context.wrap_socket(
            socket.create_connection((LOOPBACK, port), 30), server_hostname=name, session=session
        )
        self.stream = Stream(self.sock)
        self.name = name

    def get(self, path: str, *lines: str) -> Answer:
        fields = "".join(f"{line}\r\n" for line in lines)
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.name or 'nobody.test'}\r\n{fields}\r\n".encode())
        return read_answer(self.stream)

    def close(self) -> None:
        self.sock.close()


class Node(Gateway):
    """A gateway with a TLS listener."""

    folder: Path
    tls_port: int

    @contextlib.contextmanager
    def tls(self, shown: Pair | None = None, name: str | None = None, **options: Any) -> Iterator[TlsClient]:
        client = TlsClient(self.tls_port, shown, name, folder=self.folder, **options)
        try:
            yield client
        finally:
            client.close()

    def trusted(self, authority: Authority) -> str:
        stored = self.admin("GET", "/ca_certificates").json()["data"]
        known = [each for each in stored if each["cert"] == authority.cert]
        return str((known or [self.create("/ca_certificates", cert=authority.cert)])[0]["id"])

    def demand(self, upstream: Upstream, name: str | None, *trusted: Authority, **config: Any) -> str:
        """A route for a server name (None: for all names) with the plugin; its path."""
        at = f"/{next(numbers)}-"
        route = self.route(upstream.url, paths=[at], **({"snis": [name]} if name else {}))
        self.use(route, *trusted, **config)
        return at

    def use(self, route: dict[str, Any], *trusted: Authority, **config: Any) -> dict[str, Any]:
        config["ca_certificates"] = [self.trusted(each) for each in trusted or (ROOT,)]
        return self.create(f"/routes/{route['id']}/plugins", name="mtls-auth", config=config)


@contextlib.contextmanager
def started(folder: Path, **env: str) -> Iterator[Node]:
    """A node with these settings, and a consumer."""
    with Node(start=False, env=env) as node:
        node.folder = folder
        (node.tls_port,) = free_ports(1)
        node.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{node.tls_port} ssl"
        node.start()
        node.create("/consumers", username="ada")
        yield node


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with started(tmp_path_factory.mktemp("clients")) as node:
        yield node


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(plain(b"ok")) as server:
        yield server


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_client_with_a_certificate_comes_in(gateway: Node, upstream: Upstream, version: ssl.TLSVersion) -> None:
    at = gateway.demand(upstream, f"v{version}.test")
    with gateway.tls(ADA, f"v{version}.test", version=version) as client:
        for _ in range(3):
            assert client.get(at).status == 200
        assert client.sock.version() == ("TLSv1.2" if version is VERSIONS[0] else "TLSv1.3")
    assert upstream.requests[-1].get("x-consumer-username") == "ada"
    with gateway.tls(None, f"v{version}.test", version=version) as client:
        for _ in range(2):
            answer = client.get(at)
            assert (answer.status, MISSING in answer.body) == (401, True)


def _weak(made: Pair) -> Pair:
    """The same certificate, signed with SHA-1."""
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, made.cert.encode())
    with pytest.warns(DeprecationWarning):  # nothing else still makes such signatures
        certificate.sign(crypto.PKey.from_cryptography_key(ROOT.key), "sha1")
    return Pair(crypto.dump_certificate(crypto.FILETYPE_PEM, certificate).decode(), made.key)


def _alone(made: Pair) -> Pair:
    """Without what stands between it and the root."""
    end = "-----END CERTIFICATE-----\n"
    return Pair(made.cert.partition(end)[0] + end, made.key)


def _below(authority: Authority, count_: int) -> Authority:
    for number in range(count_):
        authority = Authority(f"Number {number}", authority)
    return authority


FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
FOR_CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
ENCIPHERING = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
REFUSED = {
    "another authority": OTHER.issue("ada"),
    "self-signed": pair("ada"),
    "expired": ROOT.issue("ada", days=-1),
    "not valid yet": ROOT.issue("ada", begins=1),
    "for servers only": ROOT.issue("ada", extensions=[FOR_SERVERS]),
    "key for enciphering": ROOT.issue("ada", extensions=[ENCIPHERING]),
    "short key": ROOT.issue("ada", key=rsa.generate_private_key(65537, 1024)),
    "weak digest": _weak(ROOT.issue("ada")),
    "issued by no authority": Authority("eve", ROOT, ca=False).issue("ada"),
    "authority expired": Authority("Old", ROOT, days=-1).issue("ada"),
    "too long a chain": _below(ROOT, 11).issue("ada"),
    "chain not sent": _alone(MIDDLE.issue("ada")),
}
ACCEPTED = {
    "of the root": ADA,
    "one between": MIDDLE.issue("ada"),
    "ten between": _below(ROOT, 10).issue("ada"),
    "RSA": ROOT.issue("ada", key=rsa.generate_private_key(65537, 2048)),
    "Ed25519": ROOT.issue("ada", key=ed25519.Ed25519PrivateKey.generate()),
    "for clients too": ROOT.issue("ada", extensions=[FOR_CLIENTS]),
    "an alternative name": ROOT.issue("somebody", "ada"),
}


@pytest.fixture(scope="module")
def strict(gateway: Node, upstream: Upstream) -> str:
    return gateway.demand(upstream, "strict.test")


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("why", REFUSED)
def test_who_is_refused(gateway: Node, upstream: Upstream, strict: str, why: str, version: ssl.TLSVersion) -> None:
    before = len(upstream.requests)
    with gateway.tls(REFUSED[why], "strict.test", version=version, weak=True) as client:
        for _ in range(2):  # the first verdict, and the one that is remembered
            answer = client.get(strict)
            assert (answer.status, UNTRUSTED in answer.body) == (401, True)
    assert len(upstream.requests) == before


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("what", ACCEPTED)
def test_who_is_accepted(gateway: Node, strict: str, what: str, version: ssl.TLSVersion) -> None:
    with gateway.tls(ACCEPTED[what], "strict.test", version=version) as client:
        assert [client.get(strict).status for _ in range(2)] == [200, 200]


def test_the_log_says_why(gateway: Node, strict: str) -> None:
    with gateway.tls(REFUSED["expired"], "strict.test") as client:
        assert client.get(strict).status == 401
    wait_until(lambda: "is refused: certificate has expired (depth 0)" in gateway.log(), 30)


def test_log_records_say_what_became_of_the_certificate(gateway: Node, strict: str) -> None:
    """Each request has its own verdict, whatever the connection was used for before."""
    file = gateway.folder / "records"
    plugin = gateway.create("/plugins", name="file-log", config={"path": str(file)})
    for shown in (ADA, REFUSED["self-signed"], None):
        with gateway.tls(shown, "strict.test") as client:
            client.get(strict)
            client.get("/nowhere")

    def verdicts() -> list[str]:
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["request"]["tls"]["client_verify"] for line in lines]

    refused = "FAILED:self-signed certificate (depth 0)"
    wait_until(lambda: verdicts() == ["SUCCESS", "NONE", refused, "NONE", "NONE", "NONE"], 30)
    gateway.delete(f"/plugins/{plugin['id']}")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def test_clients_are_told_whose_certificates_are_welcome(gateway: Node, upstream: Upstream, version: int) -> None:
    """As long as nobody who asks under the name would take any."""
    name = f"welcome{version}.test"

    def welcome() -> list[str | None]:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        with socket.create_connection((LOOPBACK, gateway.tls_port), 30) as sock:
            sock.setblocking(True)
            client = SSL.Connection(context, sock)
            client.set_tlsext_host_name(name.encode())
            client.set_connect_state()
            client.do_handshake()
            return [each.CN for each in client.get_client_ca_list()]

    gateway.demand(upstream, name, ROOT, OTHER, send_ca_dn=True)
    assert sorted(welcome(), key=str) == ["Other root", "Root"]
    gateway.demand(upstream, name, ROOT)
    assert welcome() == []


def test_without_tls(gateway: Node, strict: str) -> None:
    answer = ask_once(gateway, "GET", strict, "X-Client-Cert-DN: CN=ada", host="strict.test")
    assert (answer.status, MISSING in answer.body) == (401, True)


@pytest.mark.parametrize("status", [426, 301, 308])
def test_clear_text_where_only_tls_will_do(gateway: Node, upstream: Upstream, status: int) -> None:
    """The protocols of a route come before its plugins."""
    at = f"/{next(numbers)}-"
    only = {"protocols": ["https"], "https_redirect_status_code": status}
    route = gateway.route(upstream.url, paths=[at], snis=["only.test"], **only)
    gateway.use(route)
    answer = ask_once(gateway, "GET", f"{at}?x=1", host="only.test:8000")
    assert answer.status == status
    assert answer.get("location") == (None if status == 426 else f"https://only.test{at}?x=1")
    with gateway.tls(ADA, "only.test") as client:
        assert client.get(at).status == 200


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", ["strict.test", "asks-not.test"])
@pytest.mark.parametrize(("offered", "agreed"), [(["h2"], None), (["h2", "http/1.1"], "http/1.1")])
def test_protocols_that_a_client_offers(
    gateway: Node, strict: str, name: str, offered: list[str], agreed: str | None, version: ssl.TLSVersion
) -> None:
    """One that has no other than those the gateway lacks may still speak HTTP/1.1, whoever is asked for what."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(offered)
    with gateway.tls(ADA, name, version=version, context=context) as client:
        assert client.sock.selected_alpn_protocol() == agreed
        assert client.get(strict).status == (200 if name == "strict.test" else 404)


def test_the_host_of_a_request_is_not_the_name_of_the_handshake(gateway: Node, upstream: Upstream) -> None:
    """Whoever shakes hands under a name that does not ask has shown nothing."""
    gateway.demand(upstream, "asks.test")
    at = gateway.demand(upstream, "asks-too.test")
    with gateway.tls(ADA, "asks-not.test") as client:
        client.name = "asks-too.test"
        assert client.get(at).status == 404  # the route is only there under its own server name
    with gateway.tls(ADA, "asks.test") as client:
        client.name = "asks-too.test"
        assert client.get(at).status == 404


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_session_is_never_resumed(gateway: Node, strict: str, version: ssl.TLSVersion) -> None:
    """Neither one of a name that does not ask, nor one of the name itself."""
    with gateway.tls(None, "asks-not.test", version=version) as client:
        client.get("/")
        session, context = client.sock.session, client.context
    with gateway.tls(None, "asks-not.test", version=version, session=session, context=context) as client:
        client.get("/")
        assert client.sock.session_reused
    with gateway.tls(None, "strict.test", version=version, session=session, context=context) as client:
        assert client.get(strict).status == 401
        assert not client.sock.session_reused
    with gateway.tls(ADA, "strict.test", version=version) as client:
        assert client.get(strict).status == 200
        session, context = client.sock.session, client.context
    with gateway.tls(None, "strict.test", version=version, session=session, context=context) as client:
        assert client.get(strict).status == 200  # the context still has the certificate
        assert not client.sock.session_reused


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_session_of_another_name_counts_for_nothing(
    gateway: Node, upstream: Upstream, strict: str, version: ssl.TLSVersion
) -> None:
    """The name of the handshake decides which certificate is shown, which route is found, and who is asked for one.

    Before TLS 1.3 a session has a name, and the handshake is done in full (RFC 6066, section 3).
    """
    names = {name: pair(name) for name in (f"one{version}.test", f"two{version}.test")}
    one, two = names
    for name, shown in names.items():
        gateway.create("/certificates", cert=shown.cert, key=shown.key, snis=[name])
    at = f"/{next(numbers)}-"
    gateway.route(upstream.url, paths=[at], snis=[two])
    session, context = None, None

    def come(name: str | None, path: str) -> tuple[int, int, bool]:
        nonlocal session, context
        with gateway.tls(None, name, version=version, session=session, context=context) as client:
            status = client.get(path).status
            if session is None:
                session, context = client.sock.session, client.context
            serial = serial_of(client.sock.getpeercert(binary_form=True))
            return status, serial, client.sock.session_reused

    assert come(one, at) == (404, names[one].serial, False)
    assert come(one, at) == (404, names[one].serial, True)
    for _ in range(2):
        status, serial, resumed = come(two, at)
        # With TLS 1.3 the session does not hold the name, nor does the client see the certificate again.
        assert (status, resumed) == (200, version is VERSIONS[1])
        assert serial == names[one if resumed else two].serial
    assert come(two.upper(), at)[0] == 200
    assert come(None, at)[0] == 404
    assert come("strict.test", strict)[::2] == (401, False)
    session, context = None, None
    come(two, at)
    assert come(one, at)[0] == 404


def test_what_changes_counts_from_the_next_handshake_on(gateway: Node, upstream: Upstream) -> None:
    authority = Authority("Young")
    at = f"/{next(numbers)}-"
    route = gateway.route(upstream.url, paths=[at], snis=["live.test"])
    young = authority.issue("ada")

    def status(shown: Pair | None) -> int:
        with gateway.tls(shown, "live.test") as client:
            return client.get(at).status

    assert status(None) == status(young) == 200
    plugin = gateway.use(route, authority)
    assert (status(None), status(young), status(ADA)) == (401, 200, 401)
    newer = Authority("Newer")
    gateway.change(f"/ca_certificates/{gateway.trusted(authority)}", cert=newer.cert)
    assert (status(young), status(newer.issue("ada"))) == (401, 200)
    gateway.change(f"/plugins/{plugin['id']}", enabled=False)
    assert status(None) == 200
    gateway.delete(f"/plugins/{plugin['id']}")


def test_bodies_pipelines_and_the_closing_alert(gateway: Node, upstream: Upstream, strict: str) -> None:
    body = b"x" * 300_000
    with gateway.tls(ADA, "strict.test") as client:
        head = f"POST {strict} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sock.sendall(head + body)
        assert read_answer(client.stream).status == 200
        assert upstream.requests[-1].body == body
        client.sock.sendall(f"GET {strict} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode() * 20)
        assert [read_answer(client.stream).status for _ in range(20)] == [200] * 20
        client.sock.unwrap()


def test_a_large_answer(gateway: Node) -> None:
    body = bytes(range(256)) * 20_000
    with Upstream(plain(body)) as large:
        at = gateway.demand(large, "large.test")
        with gateway.tls(ADA, "large.test") as client:
            assert client.get(at).body == body
