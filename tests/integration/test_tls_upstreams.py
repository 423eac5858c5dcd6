"""HTTPS upstreams: without verification, with it failing, with it passing; SNI; streaming; retries."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, ask_once, head, in_thread
from tests.upstream import CLOSE, Upstream, answer, plain, script


class Authority:
    """A certificate authority of one test run, and a server certificate for `secure.test` and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = self._make("root", "/CN=Test authority", "basicConstraints=critical,CA:TRUE")
        names = "subjectAltName=DNS:secure.test,IP:127.0.0.1"
        self.server = self._make("server", "/CN=secure.test", names, "-CA", "root.pem", "-CAkey", "root.key")
        self.other = self._make("other", "/CN=other", "subjectAltName=DNS:other.test")
        self.hosts = folder / "hosts"
        self.hosts.write_text("127.0.0.1 secure.test wrong.test\n")

    def _make(self, name: str, subject: str, extension: str, *options: str) -> Path:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject, "-addext", extension, *options],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )
        return self.folder / f"{name}.pem"

    def context(self, certificate: Path) -> ssl.SSLContext:
        """What a server needs to show this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def gateway(authority: Authority) -> Iterator[Gateway]:
    env = {"dns_hostsfile": str(authority.hosts), "lua_ssl_trusted_certificate": str(authority.root)}
    with Gateway(env=env) as node:
        yield node


def test_without_verification(gateway: Gateway, site: Any, authority: Authority) -> None:
    path, upstream = site(server={"tls": authority.context(authority.other)})
    with gateway.client() as client:
        for method in ("GET", "HEAD", "POST", "GET"):
            assert ask(client, method, path, body=b"x" * 50_000 if method == "POST" else b"").status == 200
    assert {request.connection for request in upstream.requests} == {1}, "TLS connections are kept"
    assert upstream.requests[0].get("host") == f"127.0.0.1:{upstream.port}"
    assert upstream.requests[0].get("x-forwarded-proto") == "http"


def test_with_verification(gateway: Gateway, authority: Authority) -> None:
    with Upstream(tls=authority.context(authority.server)) as upstream:
        for host, status in (("secure.test", 200), ("127.0.0.1", 200), ("wrong.test", 502)):
            service = {"tls_verify": True, "retries": 0}
            gateway.route(f"https://{host}:{upstream.port}", service=service, paths=[f"/verify-{host}"])
            reply = ask_once(gateway, "GET", f"/verify-{host}")
            assert reply.status == status, host
            if status == 502:
                assert b"An invalid response was received from the upstream server" in reply.body
        assert len(upstream.requests) == 2, "nothing is sent before the certificate is trusted"


def test_an_unknown_authority(gateway: Gateway, site: Any, authority: Authority) -> None:
    path, upstream = site(server={"tls": authority.context(authority.other)}, service={"tls_verify": True})
    assert ask_once(gateway, "GET", path).status == 502
    assert ask_once(gateway, "POST", path, body=b"secret").status == 502
    assert upstream.requests == []
    assert len(upstream.malformed) >= 2, "handshakes that the gateway gave up"


def test_verification_by_the_settings(make_gateway: Any, authority: Authority) -> None:
    gateway = make_gateway(
        env={"nginx_proxy_proxy_ssl_verify": "on", "lua_ssl_trusted_certificate": str(authority.root)}
    )
    with (
        Upstream(tls=authority.context(authority.server)) as good,
        Upstream(tls=authority.context(authority.other)) as bad,
    ):
        gateway.route(good.url, paths=["/good"])
        gateway.route(bad.url, paths=["/bad"])
        gateway.route(bad.url, service={"tls_verify": False}, paths=["/excused"])
        assert [ask_once(gateway, "GET", path).status for path in ("/good", "/bad", "/excused")] == [200, 502, 200]


@pytest.mark.parametrize("preserve", [False, True])
def test_the_name_in_the_handshake_is_that_of_the_host_field(
    gateway: Gateway, authority: Authority, preserve: bool
) -> None:
    seen: list[str | None] = []
    context = authority.context(authority.server)
    context.sni_callback = lambda _sock, name, _context: seen.append(name)
    with Upstream(tls=context) as upstream:
        path = f"/sni-{preserve}"
        gateway.route(f"https://secure.test:{upstream.port}", paths=[path], preserve_host=preserve)
        assert ask_once(gateway, "GET", path, host="client.test").status == 200
        assert seen == ["client.test" if preserve else "secure.test"]


def test_large_bodies_over_tls(gateway: Gateway, site: Any, authority: Authority) -> None:
    body = bytes(range(256)) * 8192
    path, upstream = site(plain(body), server={"tls": authority.context(authority.server)}, request_buffering=False)
    with gateway.client(timeout=60) as client:
        for _ in range(2):
            client.send(head("PUT", path, f"Content-Length: {2 * MIB}") + body)
            assert client.answer().body == body
            assert upstream.requests[-1].body == body


def test_a_plain_server_behind_https(gateway: Gateway) -> None:
    """It answers the handshake with an HTTP error, as web servers do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer(400, b"plain HTTP here"))

        gateway.route(f"https://127.0.0.1:{server.getsockname()[1]}", service={"retries": 0}, paths=["/plain"])
        with in_thread(serve):
            assert ask_once(gateway, "GET", "/plain").status == 502


def test_a_cut_answer_over_tls(gateway: Gateway, site: Any, authority: Authority) -> None:
    steps = (answer(200, b"x" * 100)[:-50], CLOSE)
    path, _ = site(script(*steps), server={"tls": authority.context(authority.server)})
    reply = ask_once(gateway, "GET", path)
    assert (reply.status, reply.complete) == (200, False)


def test_a_dead_kept_connection_over_tls(gateway: Gateway, site: Any, authority: Authority) -> None:
    path, upstream = site(server={"tls": authority.context(authority.server)}, service={"retries": 0})
    for _ in range(3):
        assert ask_once(gateway, "POST", path, body=b"x").status == 200
        upstream.drop_connections()
        assert ask_once(gateway, "GET", path).status == 200


def test_handshake_that_hangs(gateway: Gateway) -> None:
    with Upstream(early=lambda _: None) as upstream:
        service = {"connect_timeout": 300, "retries": 0}
        gateway.route(f"https://127.0.0.1:{upstream.port}", service=service, paths=["/hangs"])
        # The upstream waits for the end of a request line, the gateway for the server's part of the handshake.
        assert ask_once(gateway, "GET", "/hangs").status == 504
