"""A client that leaves while it waits: the upstream is told, and the log says 499."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, head, in_thread
from tests.upstream import Pause, Step, Take, Upstream, script
from tests.wire import Request, Stream, wait_until


def until_closed(stream: Stream) -> None:
    """Read on, and so notice the end."""
    for _ in stream.rest():
        continue


def silent(_request: Request) -> Iterable[Step]:
    """Take whatever comes until the connection ends; never answer."""
    yield Take(until_closed)


def one_event(_request: Request) -> Iterable[Step]:
    """Begin a stream of events, then stay quiet."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"
    yield Take(until_closed)


@pytest.mark.parametrize("answer", [silent, one_event])
def test_the_upstream_call_is_aborted(
    make_gateway: Callable[..., Gateway],
    make_upstream: Callable[..., Upstream],
    answer: Callable[[Request], Iterable[Step]],
) -> None:
    gateway = make_gateway(env={"KONG_PROXY_ACCESS_LOG": "logs/access.log json"})
    upstream = make_upstream(answer)
    gateway.route(upstream.url, paths=["/quiet"])
    with gateway.client() as client:
        client.send(b"GET /quiet HTTP/1.1\r\nHost: a.test\r\n\r\n")
        if answer is one_event:
            client.stream.until(b"data: x")
        else:
            wait_until(lambda: len(upstream.requests) == 1)
    wait_until(lambda: upstream.open == 0)
    log = Path(gateway.prefix, "logs/access.log")
    wait_until(lambda: log.exists() and "/quiet" in log.read_text())
    (record,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert record["status"] == 499


def test_a_client_that_has_gone_gets_nothing_of_others(
    make_gateway: Callable[..., Gateway], make_upstream: Callable[..., Upstream]
) -> None:
    """It ends its side while its answer waits to be taken: the upstream's descriptor becomes the next client's."""
    gateway, quiet = make_gateway(), make_upstream(silent)
    large = make_upstream(script(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB), b"x" * 64 * MIB))
    gateway.route(large.url, paths=["/large"])
    gateway.route(quiet.url, paths=["/quiet"])
    with gateway.client(timeout=30) as gone:
        gone.send(head("GET", "/large"))
        gone.stream.until(b"\r\n\r\n")
        gone.end()
        wait_until(lambda: large.open == 0)
        with gateway.client() as successor:
            successor.send(head("GET", "/quiet"))
            wait_until(lambda: len(quiet.requests) == 1)
            successor.send(head("GET", "/quiet?secret"))
            received = b"".join(gone.stream.rest())
    assert len(received) < 64 * MIB
    assert not received.strip(b"x")


def test_a_client_that_leaves_after_its_upload(gateway: Gateway, site: Any) -> None:
    """The body came while the upstream took none of it: that the client had more to say means nothing any more."""
    gate = threading.Event()

    def hold(_request: Request) -> None:
        gate.wait(30)

    path, upstream = site(silent, server={"early": hold}, service={"read_timeout": 600_000})
    with gateway.client(timeout=30) as client:
        client.send(head("POST", path, f"Content-Length: {16 * MIB}"))
        with in_thread(lambda: client.send(b"x" * 16 * MIB)):
            wait_until(lambda: upstream.accepted == 1)
            gate.set()
        wait_until(lambda: len(upstream.requests) == 1)
    wait_until(lambda: upstream.open == 0)


def test_nobody_is_asked_again_for_a_client_that_has_gone(gateway: Gateway, site: Any) -> None:
    """It has sent its next request already, so that its end goes unnoticed until it is written to."""
    gate = threading.Event()

    def hint(_request: Request) -> Iterable[Step]:
        gate.wait(30)
        for _ in range(10):
            yield b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            yield Pause(0.05)

    path, upstream = site(hint, service={"retries": 5})
    with gateway.client() as client:
        client.send(head("GET", path + "?leaves-before-hints"))
        wait_until(lambda: upstream.requests)
        client.send(head("GET", path))
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gate.set()
    wait_until(lambda: "leaves-before-hints" in gateway.log("access.log"))
    assert len(upstream.requests) == 1
