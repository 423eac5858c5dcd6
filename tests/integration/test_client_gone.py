"""A client that leaves while it waits: the upstream is told, and the log says 499."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.gateway import Gateway
from tests.upstream import Step, Take, Upstream
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
