"""What is sent at the end of a turn of the event loop: when it goes, and what becomes of it when it cannot."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Iterator

import gevent
import pytest

from kong_gevent.errors import ConnectionClosed
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.turn import MOST


class Pairs:
    """Streams of one event loop and the sockets at their other ends."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.made: list[tuple[Stream, socket.socket]] = []

    def make(self) -> tuple[Stream, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        pair = (Stream(_socket.socket(fileno=near.detach()), self.streams), far)
        self.made.append(pair)
        return pair


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    for stream, far in made.made:
        stream.close()
        far.close()
    gevent.sleep(0)


def come(far: socket.socket) -> bytes:
    """What has come so far."""
    try:
        return far.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_it_goes_at_the_end_of_the_turn(pairs: Pairs) -> None:
    (one, far), (other, away) = pairs.make(), pairs.make()
    one.write_soon(b"a")
    other.write_soon(b"b")
    one.write_soon(b"c")
    assert (come(far), come(away)) == (b"", b"")
    assert one.unsent and other.unsent
    gevent.sleep(0)
    assert (come(far), come(away)) == (b"ac", b"b")
    assert not one.unsent and not other.unsent
    one.write_soon(b"d")  # and again
    gevent.sleep(0)
    assert come(far) == b"d"


def test_it_goes_before_the_loop_waits(pairs: Pairs) -> None:
    """Nothing else happens here: the one who waits for the answer is all there is."""
    stream, far = pairs.make()

    def ask() -> bytes:
        stream.write_soon(b"ping")
        return stream.read()

    def answer() -> None:
        far.setblocking(True)
        assert far.recv(100) == b"ping"
        far.sendall(b"pong")

    asking = gevent.spawn(ask)
    answering = gevent.get_hub().threadpool.spawn(answer)
    assert asking.get(timeout=30) == b"pong"
    answering.get(timeout=30)


def test_so_many_wait_at_most(pairs: Pairs) -> None:
    ends = [pairs.make() for _ in range(MOST + 1)]
    for stream, _ in ends:
        stream.write_soon(b"x")
    assert [come(far) for _, far in ends] == [b"x"] * MOST + [b""]
    gevent.sleep(0)
    assert come(ends[-1][1]) == b"x"


def test_what_cannot_be_sent_is_told_to_the_reader(pairs: Pairs) -> None:
    (stream, far), (other, away) = pairs.make(), pairs.make()
    far.close()
    other_reader = gevent.spawn(other.read)
    reader = gevent.spawn(lambda: (stream.write_soon(b"x"), other.write_soon(b"y"), stream.read()))
    gevent.sleep(0)
    try:
        assert reader.get(timeout=30)[2] == b"", "the end of the stream may be seen first"
    except OSError as error:
        assert isinstance(error, BrokenPipeError)
    gevent.sleep(0)
    assert come(away) == b"y", "one that fails keeps no other one from going"
    with pytest.raises(BrokenPipeError):
        stream.write(b"again")
    away.sendall(b"z")
    assert other_reader.get(timeout=30) == b"z"


def test_a_stream_that_is_closed_meanwhile_sends_nothing(pairs: Pairs) -> None:
    stream, far = pairs.make()
    stream.write_soon(b"x")
    stream.close()
    gevent.sleep(0)
    assert come(far) == b""
    with pytest.raises(ConnectionClosed):
        stream.write_soon(b"y")


def test_what_the_peer_does_not_take_at_once_follows(pairs: Pairs) -> None:
    stream, far = pairs.make()
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = bytes(range(256)) * 4096
    stream.write_soon(data)
    gevent.sleep(0)
    assert not stream.unsent
    taken = b""
    with gevent.Timeout(30):
        while len(taken) < len(data):
            taken += come(far)
            gevent.sleep(0)
    assert taken == data


def test_a_peer_that_goes_while_it_still_gets_something(pairs: Pairs) -> None:
    stream, far = pairs.make()
    stream.write_soon(bytes(8 << 20))
    reader = gevent.spawn(stream.read)
    gevent.sleep(0)
    gevent.sleep(0)
    assert stream.writing
    far.close()
    with gevent.Timeout(30):
        while stream.fault is None:
            gevent.sleep(0)
    try:
        assert reader.get(timeout=30) == b""
    except OSError as error:
        assert isinstance(error, (BrokenPipeError, ConnectionResetError))
