"""Bodies that the kernel moves: only between the two streams, only while both are open, and no byte more than asked."""

import _socket
import errno
import os
import socket
from collections.abc import Callable, Iterator

import gevent
import pytest

from kong_gevent.errors import ConnectionClosed
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.splice import Pipes, SourceFailed, splice
from kong_gevent.proxy.stream import Stream

Pair = tuple[Stream, socket.socket]


@pytest.fixture
def pair() -> Iterator[Callable[[], Pair]]:
    """Makes streams, each with the socket of its peer."""
    made: list[Pair] = []

    def make() -> Pair:
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        made.append((Stream(_socket.socket(fileno=near.detach()), Streams()), far))
        return made[-1]

    yield make
    for stream, far in made:
        stream.close()
        far.close()
    gevent.sleep(0)


def taken(peer: socket.socket) -> bytes:
    """What a peer can read now."""
    data = b""
    try:
        while part := peer.recv(1 << 20):
            data += part
    except BlockingIOError:
        pass
    return data


def fill(stream: Stream) -> None:
    """Let the stream's peer have as much as the kernel takes."""
    try:
        while True:
            stream.send(b"x" * 65536)
    except BlockingIOError:
        return


def put_in_place_of(number: int) -> tuple[socket.socket, socket.socket]:
    """Another connection under a descriptor that was closed: the kernel gives the lowest free number to the next."""
    near, far = socket.socketpair()
    if near.fileno() != number:
        os.dup2(near.fileno(), number)
        near.close()
        near = socket.socket(fileno=number)
    return near, far


def test_a_source_that_was_closed_meanwhile_is_not_touched(pair: Callable[[], Pair]) -> None:
    """Its descriptor may be another connection's by now, whose bytes are not for this receiver."""
    (source, sender), (sink, receiver) = pair(), pair()
    fill(sink)
    sender.send(b"a" * 1000)
    mover = gevent.spawn(splice, source, sink, 5000, lambda count: None)
    gevent.sleep(0)
    assert sink.writing
    number = source.fd
    source.close()
    near, far = put_in_place_of(number)
    with near, far:
        far.send(b"secret")
        taken(receiver)
        with pytest.raises(SourceFailed):
            mover.get(timeout=30)
        assert b"secret" not in taken(receiver)
        assert near.recv(100) == b"secret"


def test_a_sink_that_was_closed_meanwhile_is_not_touched(pair: Callable[[], Pair]) -> None:
    """The same, the other way round: nobody else gets these bytes."""
    (source, sender), (sink, _) = pair(), pair()
    mover = gevent.spawn(splice, source, sink, 5000, lambda count: None)
    gevent.sleep(0)
    number = sink.fd
    sink.close()
    near, far = put_in_place_of(number)
    with near, far:
        sender.send(b"secret")
        with pytest.raises(ConnectionClosed):
            mover.get(timeout=30)
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(100)


def test_without_a_pipe_nothing_is_moved(pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has run out of descriptors copies."""

    def none_left(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Pipes, "_free", [])
    monkeypatch.setattr(os, "pipe2", none_left)
    (source, sender), (sink, receiver) = pair(), pair()
    sender.send(b"abc")
    assert not splice(source, sink, 3, lambda count: None)
    assert source.read() == b"abc"
    assert taken(receiver) == b""


@pytest.mark.parametrize("more", [False, True])
def test_the_source_tells_afterwards_whether_there_is_more(pair: Callable[[], Pair], more: bool) -> None:
    """A connection with bytes that nobody asked for must not be used again, one without them may be."""
    (source, sender), (sink, _) = pair(), pair()
    if not more:
        sender.send(b"abc")
        gevent.sleep(0.01)
        assert source.pending
    else:
        sender.send(b"abcd")
    assert splice(source, sink, 3, lambda count: None)
    assert source.pending == more
