"""Deadlines of streams: each belongs to the wait that it was set for."""

import _socket
import socket
from collections.abc import Iterator
from time import monotonic

import gevent
import pytest

from kong_gevent.errors import DeadlineExceeded
from kong_gevent.proxy.deadlines import NEVER, Streams
from kong_gevent.proxy.stream import Stream


@pytest.fixture
def stream() -> Iterator[Stream]:
    """One end of a pair whose other end reads nothing and says nothing."""
    near, far = socket.socketpair()
    near.setblocking(False)
    stream = Stream(_socket.socket(fileno=near.detach()), Streams())
    yield stream
    stream.close()
    far.close()
    gevent.sleep(0)


def waiting_writer(stream: Stream) -> gevent.Greenlet:
    writer = gevent.spawn(stream.write, b"x" * (8 << 20))
    gevent.sleep(0)
    assert stream.writing
    return writer


def test_a_read_deadline_of_an_earlier_wait_does_not_end_a_write(stream: Stream) -> None:
    """A client that reads a large answer slowly may do so for longer than it may be silent before a request."""
    stream.deadline = monotonic() - 1
    writer = waiting_writer(stream)
    stream.expire(monotonic())
    gevent.sleep(0)
    assert stream.writing
    assert stream.fault is None
    stream.write_deadline = monotonic() - 1
    stream.expire(monotonic())
    with pytest.raises(DeadlineExceeded):
        writer.get(timeout=30)


def test_a_deadline_that_has_not_come_ends_nothing(stream: Stream) -> None:
    reader = gevent.spawn(stream.read)
    gevent.sleep(0)
    stream.expire(monotonic())
    assert stream.fault is None
    stream.expire(stream.deadline)
    with pytest.raises(DeadlineExceeded):
        reader.get(timeout=30)
    assert stream.deadline == NEVER


def test_an_idle_stream_tells_its_owner(stream: Stream) -> None:
    told: list[Stream] = []
    stream.idle = told.append
    stream.deadline = monotonic()
    stream.expire(monotonic())
    assert told == [stream]
    assert isinstance(stream.fault, DeadlineExceeded)


@pytest.mark.parametrize("timeout", [0.01, 1.0])
def test_a_peer_that_says_nothing_is_noticed(stream: Stream, timeout: float) -> None:
    """By a timer of its own, and by the sweeper."""
    stream.read_timeout = timeout
    with pytest.raises(DeadlineExceeded):
        gevent.spawn(stream.read).get(timeout=30)
