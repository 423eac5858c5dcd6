"""Listeners with `proxy_protocol`: who the client is, for everything that asks; what has no good header is cut off."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import sleep
from typing import Any

import pytest

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import ask, cli, head
from tests.preambles import BAD, GOOD, named
from tests.upstream import Upstream
from tests.wire import Answer, Client, Stream, read_answer, wait_until

SETTINGS = {
    "trusted_ips": "127.0.0.0/8",
    "real_ip_header": "proxy_protocol",
    "proxy_access_log": "logs/access.log json",
    "client_header_timeout": "5",
}
Deliver = Callable[[socket.socket, bytes, bytes], None]


def _apart(sock: socket.socket, header: bytes, rest: bytes) -> None:
    sock.sendall(header)
    sleep(0.01)
    sock.sendall(rest)


def _together(sock: socket.socket, header: bytes, rest: bytes) -> None:
    sock.sendall(header + rest)


def _byte_by_byte(sock: socket.socket, header: bytes, rest: bytes) -> None:
    for at in range(len(header)):
        sock.sendall(header[at : at + 1])
        if at % 40 == 0:
            sleep(0.001)
    sock.sendall(rest)


DELIVERIES: dict[str, Deliver] = {"apart": _apart, "together": _together, "byte by byte": _byte_by_byte}


@dataclass
class Node:
    """A gateway with a plain and a TLS listener behind a balancer, and its upstream."""

    gateway: Gateway
    upstream: Upstream
    tls_port: int

    def connect(self, tls: bool) -> socket.socket:
        sock = socket.create_connection((LOOPBACK, self.tls_port if tls else self.gateway.proxy_port), 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def ask(self, tls: bool, header: bytes, deliver: Deliver, *lines: str) -> Answer:
        """One request behind a header."""
        request = head("GET", "/", "Connection: close", *lines)
        with self.connect(tls) as sock:
            if not tls:
                deliver(sock, header, request)
                return read_answer(Stream(sock))
            return _ask_with_tls(sock, header, deliver, request)

    def told(self, name: str) -> str | None:
        """A field of the last request that the upstream got."""
        return self.upstream.requests[-1].get(name)

    @property
    def bad(self) -> int:
        """How many clients were cut off for their header."""
        for line in self.gateway.admin("GET", "/metrics").text.splitlines():
            if line.startswith("kong_clients_cut_off") and 'reason="bad_preamble"' in line:
                return int(line.split()[-1])
        raise AssertionError("no metric")


def _ask_with_tls(sock: socket.socket, header: bytes, deliver: Deliver, request: bytes) -> Answer:
    """TLS by hand, so that the header and the ClientHello can share a segment."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="a.test")
    unsent = [header]

    def done(step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                flush()
                incoming.write(sock.recv(65536))

    def flush() -> None:
        if data := outgoing.read():
            deliver(sock, unsent.pop(), data) if unsent else sock.sendall(data)

    done(tls.do_handshake)
    tls.write(request)
    flush()
    received = b""
    while data := done(lambda: tls.read(65536)):
        received += data
    return read_answer(_Read(received))


class _Read(Stream):
    """What has been read already."""

    def __init__(self, data: bytes) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.buffer += data

    def fill(self) -> bool:
        return False


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    (port,) = free_ports(1)
    listen = f"{LOOPBACK}:1 proxy_protocol, {LOOPBACK}:{port} ssl proxy_protocol"
    with Upstream() as upstream, Gateway(env={**SETTINGS, "proxy_listen": listen}) as gateway:
        gateway.route(upstream.url, protocols=["http", "https"])
        gateway.create("/plugins", name="prometheus")
        yield Node(gateway, upstream, port)


@pytest.mark.parametrize("deliver", DELIVERIES)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", GOOD)
def test_a_header_and_the_request_behind_it(node: Node, name: str, tls: bool, deliver: str) -> None:
    header, client = GOOD[name]
    before = node.bad
    assert node.ask(tls, header, DELIVERIES[deliver]).status == 200
    address = client[0] if client else LOOPBACK
    assert [node.told("x-real-ip"), node.told("x-forwarded-for")] == [address, address]
    assert node.told("x-forwarded-proto") == ("https" if tls else "http")
    assert node.told("x-forwarded-port") == str(node.tls_port if tls else node.gateway.proxy_port)
    assert node.bad == before


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", BAD)
def test_without_a_good_header_the_connection_is_closed(node: Node, name: str, tls: bool) -> None:
    cut, served = node.bad, len(node.upstream.requests)
    said = node.gateway.log("error.log").count("PROXY protocol header")
    with node.connect(tls) as sock:
        stream = Stream(sock)
        sock.sendall(BAD[name])
        assert not stream.fill(), "not a word is said"
    wait_until(lambda: node.bad == cut + 1, 30)
    wait_until(lambda: node.gateway.log("error.log").count("PROXY protocol header") == said + 1, 30)
    assert len(node.upstream.requests) == served


@pytest.mark.parametrize("data", [b"P", b"PROXY TCP4 1.2.3.4", b"\r\n\r\n\0\r\nQUIT\n", GOOD["v2 IPv6"][0][:-1]])
def test_a_header_that_is_cut_off(node: Node, data: bytes) -> None:
    cut = node.bad
    with node.connect(False) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert not Stream(sock).fill()
    wait_until(lambda: node.bad == cut + 1, 30)


@pytest.mark.parametrize("data", [b"", GOOD["v2 LOCAL"][0], GOOD["v1 UNKNOWN"][0]], ids=["nothing", "v2", "v1"])
def test_a_health_check_of_the_balancer_is_no_bad_client(node: Node, data: bytes) -> None:
    cut = node.bad
    with node.connect(False) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert not Stream(sock).fill()
    assert node.ask(False, GOOD["v1 UNKNOWN"][0], _together).status == 200
    assert node.bad == cut


def test_a_header_has_as_much_time_as_a_head(node: Node) -> None:
    cut = node.bad
    with node.connect(False) as slow, node.connect(True) as slow_tls:
        for sock in (slow, slow_tls):
            sock.sendall(b"PROXY TCP4 ")
        assert not Stream(slow).fill()
        assert not Stream(slow_tls).fill()
    wait_until(lambda: node.bad == cut + 2, 30)
    wait_until(lambda: "PROXY protocol header: it is not here after 5 s" in node.gateway.log("error.log"), 30)


def test_the_header_counts_for_every_request_of_its_connection(node: Node) -> None:
    with Client(node.gateway.proxy_port) as client:
        client.send(named("203.0.113.50", 50))
        for number in range(3):
            assert ask(client, "GET", f"/{number}").status == 200
            assert node.told("x-real-ip") == "203.0.113.50"
        assert len({request.connection for request in node.upstream.requests[-3:]}) == 1


def test_everything_that_asks_for_the_client_gets_the_same(node: Node) -> None:
    """Fields, the access log, a log plugin's record, ip-restriction and rate-limiting."""
    gateway, good, other = node.gateway, "203.0.113.60", "203.0.113.61"
    made = [
        gateway.create("/plugins", name="ip-restriction", config={"deny": [other]}),
        gateway.create("/plugins", name="rate-limiting", config={"minute": 2, "policy": "local", "limit_by": "ip"}),
        gateway.create("/plugins", name="file-log", config={"path": str(gateway.prefix / "record")}),
    ]
    lines = ["X-Forwarded-For: 9.9.9.9", "X-Real-IP: 8.8.8.8", "X-Forwarded-Proto: https"]
    try:
        assert node.ask(False, named(good, 1234), _together, *lines).status == 200
        assert node.told("x-real-ip") == good
        assert node.told("x-forwarded-for") == f"9.9.9.9, {good}"
        assert node.told("x-forwarded-proto") == "https", "the peer is trusted"
        assert node.ask(True, named(other), _together).status == 403
        statuses = [node.ask(False, named(good), _together).status for _ in range(3)]
        assert statuses == [200, 429, 429], "one client's requests count together"
        assert node.ask(False, named("203.0.113.62"), _together).status == 200, "another's do not"
    finally:
        for plugin in made:
            gateway.delete(f"/plugins/{plugin['id']}")

    def records(name: str) -> list[dict[str, Any]]:
        path = gateway.prefix / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [record for line in lines if (record := json.loads(line))["client_ip"] in (good, other)]

    wait_until(lambda: len(records("logs/access.log")) == 5 and len(records("record")) == 5, 30)


# settings


@pytest.mark.parametrize(
    ("env", "fields", "address"),
    [
        ({"trusted_ips": "10.0.0.0/8"}, (), LOOPBACK),
        ({"trusted_ips": None}, (), LOOPBACK),
        ({"real_ip_recursive": "on", "trusted_ips": "127.0.0.0/8,203.0.113.0/24"}, (), "203.0.113.7"),
        ({"real_ip_header": "X-Real-IP"}, (), LOOPBACK),
        ({"real_ip_header": "X-Real-IP"}, ("X-Real-IP: 9.9.9.9",), "9.9.9.9"),
    ],
    ids=["peer not trusted", "nobody trusted", "recursive", "another source", "another source, there"],
)
def test_who_is_believed(
    make_gateway: Any, upstream: Upstream, env: dict[str, str | None], fields: tuple[str, ...], address: str
) -> None:
    """The header is read from everybody, and believed from trusted peers if the settings ask it, as in nginx."""
    gateway = make_gateway(env={**SETTINGS, "proxy_listen": f"{LOOPBACK}:1 proxy_protocol", **env})
    gateway.route(upstream.url)
    node = Node(gateway, upstream, 0)
    assert node.ask(False, GOOD["v1 TCP4"][0], _together, *fields).status == 200
    assert node.told("x-real-ip") == address


def test_connections_are_counted_by_the_address_that_the_header_names(make_gateway: Any) -> None:
    env = {**SETTINGS, "proxy_listen": f"{LOOPBACK}:1 proxy_protocol", "client_max_connections_per_address": "2"}
    gateway = make_gateway(env=env, workers=2)

    def status(address: str) -> int:
        with gateway.client() as client:
            client.send(named(address) + head("GET", "/", "Connection: close"))
            return client.answer().status

    held = []
    for _ in range(2):
        client = gateway.client()
        client.send(named("203.0.113.1"))
        assert ask(client, "GET", "/").status == 404
        held.append(client)
    silent = [gateway.client() for _ in range(5)]
    wait_until(lambda: status("203.0.113.1") == 503, 30)
    wait_until(lambda: "client 203.0.113.1: 503 refused: its address has 2" in gateway.log("error.log"), 30)
    assert [status("203.0.113.2") for _ in range(3)] == [404] * 3, "others are let in"
    for client in [*held, *silent]:
        client.close()
    wait_until(lambda: status("203.0.113.1") == 404, 30)


def test_every_listener_may_have_it(make_gateway: Any) -> None:
    """The command line finds its own node, and the Admin API knows who writes."""
    gateway = make_gateway(start=False)
    status, admin = free_ports(2)
    gateway.settings["KONG_STATUS_LISTEN"] = f"{LOOPBACK}:{status} ssl proxy_protocol, {LOOPBACK}:{gateway.status_port}"
    gateway.settings["KONG_ADMIN_LISTEN"] = f"{LOOPBACK}:{gateway.admin_port}, {LOOPBACK}:{admin} proxy_protocol"
    gateway.settings.update(KONG_TRUSTED_IPS=LOOPBACK, KONG_REAL_IP_HEADER="proxy_protocol")
    gateway.start()
    with Client(admin) as client:
        body = b'{"username":"ada"}'
        client.send(named("203.0.113.9"))
        assert ask(client, "POST", "/consumers", "Content-Type: application/json", body=body).status == 201
    wait_until(lambda: "203.0.113.9" in gateway.admin("GET", "/audit/requests").text, 30)
    assert cli(gateway, "drain").returncode == 0
    assert not gateway.is_ready()


def test_the_operator_is_warned(make_gateway: Any) -> None:
    gateway = make_gateway(env={"real_ip_header": "proxy_protocol"})
    for word in ("no address of proxy_listen has the flag 'proxy_protocol'", "nobody is believed"):
        wait_until(lambda word=word: word in gateway.log("error.log"), 30)
