"""Clients that are slow on purpose, or too many: they are cut off, counted, and hurt nobody else."""

import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import Load, ask_once, head, resident
from tests.pki import Authority
from tests.upstream import Upstream, by_path, plain
from tests.wire import Client, wait_until

EACH = 300
"""Clients of each kind."""
LIMITS = {
    "client_header_timeout": "8",
    "client_rate_grace": "8",
    "client_body_timeout": "60",
    "client_body_min_rate": "500",
    "client_read_min_rate": "100000",
    "trusted_ips": "127.0.0.0/8",
    "real_ip_header": "proxy_protocol",
}
MOST_MEMORY = 64 << 10
"""Bytes of the worker's memory that each may take, on the average; about 24 KiB are usual."""


@dataclass(frozen=True)
class Kind:
    """A way to keep a gateway waiting: what such a client says first, and then now and again."""

    first: bytes
    drip: bytes
    reason: str
    line: str
    """What the error log says of each."""
    listener: str = "plain"
    receives: int = 0
    """Size of its receive buffer; 0: the system's."""


def hello(name: str) -> bytes:
    """What a client says first in a TLS handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


KINDS = {
    "head": Kind(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x", "slow_head", "408 the head"),
    "body": Kind(head("POST", "/", "Content-Length: 100000"), b"x", "slow_body", "408 the body"),
    "chunks": Kind(head("POST", "/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n", "slow_body", "408 the body"),
    "read": Kind(head("GET", "/large"), b"", "slow_reader", "does not take its answer", receives=4096),
    "handshake": Kind(b"\x16\x03\x01\x02\x00\x01", b"", "slow_handshake", "TLS handshake not done", "tls"),
    "asked": Kind(hello("asks.test"), b"", "slow_handshake", "TLS handshake not done", "tls"),
    "preamble": Kind(b"PROXY UNKNOWN ", b"x", "bad_preamble", "PROXY protocol header", "announced"),
}


@dataclass
class Node:
    """A gateway with a listener of each kind and short limits, before an upstream that has a large answer."""

    gateway: Gateway
    ports: dict[str, int]

    def connect(self, kind: Kind) -> socket.socket:
        """Such a client."""
        sock = socket.socket()
        if kind.receives:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kind.receives)
        sock.connect((LOOPBACK, self.ports[kind.listener]))
        sock.sendall(kind.first)
        return sock


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    respond = by_path({"/large": plain(b"x" * (8 << 20)), "/": plain(b"ok")})
    tls, announced = free_ports(2)
    with Upstream(respond) as upstream, Gateway(start=False, env=LIMITS) as gateway:
        listen = f"{gateway.settings['KONG_PROXY_LISTEN']}, {LOOPBACK}:{tls} ssl, {LOOPBACK}:{announced} proxy_protocol"
        gateway.settings["KONG_PROXY_LISTEN"] = listen
        gateway.start()
        gateway.route(upstream.url)
        gateway.create("/plugins", name="prometheus")
        asking = gateway.route(upstream.url, paths=["/asks"], snis=["asks.test"])
        trusted = gateway.create("/ca_certificates", cert=Authority().cert)["id"]
        gateway.create(f"/routes/{asking['id']}/plugins", name="mtls-auth", config={"ca_certificates": [trusted]})
        yield Node(gateway, {"plain": gateway.proxy_port, "tls": tls, "announced": announced})


def cut(gateway: Gateway) -> Counter[str]:
    """How many clients were cut off, by reason, as `/metrics` tells."""
    text = requests.get(f"{gateway.admin_url}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith("kong_clients_cut_off")]
    return Counter({line.split('reason="')[1].split('"')[0]: int(line.split()[-1]) for line in lines})


def connected(gateway: Gateway, first: bytes) -> socket.socket:
    sock = socket.create_connection((LOOPBACK, gateway.proxy_port), 30)
    sock.sendall(first)
    return sock


def admitted(gateway: Gateway) -> Client:
    """A client in the middle of a head that has its place for sure: those that have just left may still have one."""

    def attempt() -> Client | None:
        client = gateway.client()
        client.send(head("GET", "/"))
        if client.answer().status == 404:
            client.send(b"GET / HTTP/1.1\r\n")
            return client
        client.close()
        return None

    found: Client = wait_until(attempt, 30)
    return found


def test_slow_clients_of_every_kind_at_once(node: Node) -> None:
    """All are cut off and counted; meanwhile they cost little, and a good client notices nothing."""
    gateway = node.gateway
    before, (worker,) = cut(gateway), gateway.worker_pids()
    expected = Counter({kind.reason: 0 for kind in KINDS.values()})
    socks: list[tuple[Kind, socket.socket]] = []
    with Load(gateway, kept=1, fresh=1) as load:
        load.more(50)
        memory = resident(worker)
        for kind in KINDS.values():
            expected[kind.reason] += EACH
            socks += [(kind, node.connect(kind)) for _ in range(EACH)]
        grown = resident(worker) - memory

        def over() -> bool:
            nonlocal grown
            for kind, sock in socks:
                with suppress(OSError):
                    sock.send(kind.drip)
            grown = max(grown, resident(worker) - memory)
            return cut(gateway) - before == expected

        wait_until(over, 90, 0.2)
        load.more(50)
        assert grown < len(socks) * MOST_MEMORY, f"{grown} bytes for {len(socks)} clients"
    assert load.failures == []
    for _, sock in socks:
        sock.settimeout(30)
        with suppress(OSError):
            while sock.recv(1 << 20):
                pass
        sock.close()
    for kind in KINDS.values():
        same = sum(EACH for other in KINDS.values() if other.line == kind.line)
        wait_until(lambda kind=kind, same=same: gateway.log("error.log").count(kind.line) == same, 30)


def test_a_slow_upstream_is_not_the_clients_fault(make_gateway: Callable[..., Gateway]) -> None:
    """Its body is here at once, and it waits for an answer that takes longer than the client may stall."""
    from tests.upstream import Pause, answer, script

    gateway = make_gateway(env={"client_rate_grace": "1", "client_body_timeout": "1"})
    with Upstream(script(Pause(2.5), answer(200, b"late"))) as upstream:
        gateway.route(upstream.url)
        assert ask_once(gateway, "POST", "/", body=b"x" * 100_000).body == b"late"


def test_a_client_that_is_fast_does_not_have_a_worker_for_itself(node: Node) -> None:
    """Chunks of one byte cost more to read than to send: however many come, others are served."""
    gateway = node.gateway
    chunks = b"1\r\nx\r\n" * 50_000
    ended = threading.Event()
    with connected(gateway, head("POST", "/", "Transfer-Encoding: chunked")) as sock:

        def flood() -> None:
            with suppress(OSError):
                while not ended.is_set():
                    sock.sendall(chunks)

        flooding = threading.Thread(target=flood, daemon=True)
        flooding.start()
        try:
            for _ in range(20):
                assert ask_once(gateway, "GET", "/").body == b"ok"
            assert flooding.is_alive()
        finally:
            ended.set()
            sock.shutdown(socket.SHUT_RDWR)
            flooding.join(30)


def test_connections_are_limited(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=2, env={"client_max_connections_per_address": "5"})
    held = [admitted(gateway) for _ in range(5)]

    def refused() -> bool:
        with gateway.client() as client:
            client.send(head("GET", "/"))
            answer = client.answer()
            return answer.status == 503 and b"Too many connections" in answer.body

    wait_until(refused, 30)
    for client in held:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    admitted(gateway).close()
    wait_until(lambda: "503 refused: its address has 5 connections" in gateway.log("error.log"), 30)


@pytest.mark.parametrize("setting", ["client_max_connections", "nginx_events_worker_connections"])
def test_a_full_node_says_so(make_gateway: Callable[..., Gateway], setting: str) -> None:
    gateway = make_gateway(env={setting: "3"})
    held: list[Any] = [admitted(gateway) for _ in range(3)]

    def refused() -> bool:
        with gateway.client() as client:
            return client.answer().status == 503

    wait_until(refused, 30)
    for sock in held:
        sock.close()
    wait_until(lambda: ask_once(gateway, "GET", "/").status == 404, 30)


def test_requests_in_a_row_are_limited(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(env={"client_max_pipelined": "20"})
    with gateway.client() as client:
        client.send(head("GET", "/") * 50)
        answers = client.answers()
    assert [reply.status for reply in answers] == [404] * len(answers)
    assert 20 <= len(answers) <= 21
    assert answers[-1].get("connection") == "close"
