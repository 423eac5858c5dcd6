"""One try to call an upstream that speaks before it has been asked."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from kong_gevent.http.heads import AnswerReader
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.pool import Lease
from kong_gevent.proxy.stream import Stream
from kong_gevent.runtime.upstream import UpstreamFailed, _attempt

ANSWER = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Early:
    """A connection on which an answer has come already, and what a try to use it needs."""

    def __init__(self) -> None:
        self.streams = Streams()
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.stream = Stream(_socket.socket(fileno=near.detach()), self.streams)
        self.origin: Any = SimpleNamespace(ip="127.0.0.1", port=1, take=lambda *_: self.lease)
        self.lease = Lease(self.stream, self.origin)
        self.far.sendall(ANSWER)
        while not self.stream.pending:
            gevent.sleep(0)
        self.far.setblocking(False)

    def attempt(self, method: bytes) -> Any:
        endpoint = SimpleNamespace(fixed=self.origin, host="a.test", port=80)
        service = SimpleNamespace(endpoint=endpoint, connect_timeout=1.0, write_timeout=1.0, read_timeout=1.0)
        exchange = SimpleNamespace(wait_for=lambda stream: None, gone=False)
        ctx: Any = SimpleNamespace(exchange=exchange, failed_tries=None)
        call: Any = SimpleNamespace(target=service, body=b"", method=method, head=REQUEST, upgrade=False)
        gateway: Any = SimpleNamespace(answers=AnswerReader(), streams=self.streams)
        return _attempt(gateway, ctx, call, 0, None)

    def came(self) -> bytes:
        try:
            return self.far.recv(4096)
        except BlockingIOError:
            return b""


@pytest.fixture
def early() -> Iterator[Early]:
    made = Early()
    yield made
    made.stream.close()
    made.far.close()
    gevent.sleep(0)


def test_on_a_kept_connection_it_is_the_answer_to_somebody_else(early: Early) -> None:
    """It is never passed on; the request may be sent on a new connection."""
    early.lease.reused = True
    with pytest.raises(UpstreamFailed) as caught:
        early.attempt(b"GET")
    assert caught.value.status == 502
    assert caught.value.again is early.origin
    assert "before it was asked" in caught.value.reason
    assert early.stream.closed
    gevent.sleep(0)
    assert early.came() == b""


def test_on_a_new_connection_it_is_what_the_server_says_to_everybody(early: Early) -> None:
    """It is passed on, and nothing is left that would be sent on the connection later."""
    _, answer, rest, _ = early.attempt(b"GET")
    assert (answer.status, rest) == (503, b"")
    assert not early.stream.unsent
    assert early.came() == REQUEST


def test_what_cannot_be_sent_twice_does_not_wait(early: Early) -> None:
    early.lease.reused = True
    _, answer, _, _ = early.attempt(b"POST")
    assert answer.status == 503
    assert early.came() == REQUEST
