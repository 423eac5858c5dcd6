"""Clients that are slow on purpose, or too many: they are cut off, counted, and hurt nobody else."""

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.gateway import Gateway
from tests.integration.support import ask_once, head, resident
from tests.upstream import Upstream, by_path, plain
from tests.wire import wait_until

EACH = 100
LIMITS = {
    "client_header_timeout": "3",
    "client_rate_grace": "3",
    "client_body_timeout": "30",
    "client_body_min_rate": "500",
    "client_read_min_rate": "100000",
}
KINDS: dict[str, tuple[bytes, bytes, str]] = {
    "head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x", "slow_head"),
    "body": (head("POST", "/", "Content-Length: 100000"), b"x", "slow_body"),
    "chunks": (head("POST", "/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n", "slow_body"),
}


@pytest.fixture(scope="module")
def slow() -> Iterator[Gateway]:
    """A gateway with short limits before an upstream that has a large answer."""
    respond = by_path({"/large": plain(b"x" * (8 << 20)), "/": plain(b"ok")})
    with Upstream(respond) as upstream, Gateway(env=LIMITS) as gateway:
        gateway.route(upstream.url)
        yield gateway


def cut(gateway: Gateway, reason: str) -> int:
    """How many clients were cut off for a reason, as `/metrics` tells."""
    for line in requests.get(f"{gateway.admin_url}/metrics", timeout=30).text.splitlines():
        if line.startswith("kong_clients_cut_off") and f'reason="{reason}"' in line:
            return int(line.split()[-1])
    raise AssertionError(f"no metric for {reason}")


def connected(gateway: Gateway, first: bytes, **options: int) -> socket.socket:
    sock = socket.socket()
    if "receive" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive"])
    sock.connect(("127.0.0.1", gateway.proxy_port))
    sock.sendall(first)
    return sock


@pytest.mark.parametrize("kind", KINDS)
def test_slow_senders_are_cut_off(slow: Gateway, kind: str) -> None:
    first, drip, reason = KINDS[kind]
    slow.create("/plugins", name="prometheus") if kind == "head" else None
    before = cut(slow, reason)
    socks = [connected(slow, first) for _ in range(EACH)]

    def over() -> bool:
        for sock in socks:
            try:
                sock.sendall(drip)
            except OSError:
                continue
        assert ask_once(slow, "GET", "/").status == 200, "a good client goes on"
        return cut(slow, reason) - before == EACH

    wait_until(over, 60, 0.1)
    for sock in socks:
        sock.close()
    wait_until(lambda: slow.log("error.log").count("408 the") >= EACH, 30)


def test_slow_readers_are_cut_off_and_cost_little(slow: Gateway) -> None:
    before = cut(slow, "slow_reader")
    (worker,) = slow.worker_pids()
    memory = resident(worker)
    socks = [connected(slow, head("GET", "/large"), receive=4096) for _ in range(EACH)]
    wait_until(lambda: all(sock.recv(16) for sock in socks), 30)
    grown = resident(worker) - memory
    assert grown < EACH * 512 * 1024, f"{grown} bytes for {EACH} clients"

    def over() -> bool:
        assert ask_once(slow, "GET", "/").status == 200, "a good client goes on"
        return cut(slow, "slow_reader") - before == EACH

    wait_until(over, 60, 0.1)
    for sock in socks:
        sock.close()


def test_a_slow_upstream_is_not_the_clients_fault(make_gateway: Callable[..., Gateway]) -> None:
    """Its body is here at once, and it waits for an answer that takes longer than the client may stall."""
    from tests.upstream import Pause, answer, script

    gateway = make_gateway(env={"client_rate_grace": "1", "client_body_timeout": "1"})
    with Upstream(script(Pause(2.5), answer(200, b"late"))) as upstream:
        gateway.route(upstream.url)
        assert ask_once(gateway, "POST", "/", body=b"x" * 100_000).body == b"late"


def test_connections_are_limited(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=2, env={"client_max_connections_per_address": "5"})
    held = [connected(gateway, b"GET / HTTP/1.1\r\n") for _ in range(4)]

    def refused() -> bool:
        with gateway.client() as client:
            client.send(head("GET", "/"))
            return client.answer().status == 503 and b"Too many connections" in gateway_says(gateway)

    def gateway_says(gateway: Gateway) -> bytes:
        with gateway.client() as client:
            return client.answer().body

    held.append(connected(gateway, b"GET / HTTP/1.1\r\n"))
    wait_until(refused, 30)
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def admitted() -> bool:
        with gateway.client() as client:
            client.send(head("GET", "/"))
            return client.answer().status == 404

    wait_until(admitted, 30)
    wait_until(lambda: "503 refused: its address has 5 connections" in gateway.log("error.log"), 30)


@pytest.mark.parametrize("setting", ["client_max_connections", "nginx_events_worker_connections"])
def test_a_full_node_says_so(make_gateway: Callable[..., Gateway], setting: str) -> None:
    gateway = make_gateway(env={setting: "3"})
    held: list[Any] = [connected(gateway, b"GET / HTTP/1.1\r\n") for _ in range(3)]

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
