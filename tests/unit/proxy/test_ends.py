"""What is left of a stream once it is closed: nothing, also while no garbage is collected."""

import _socket
import contextlib
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import gevent
import pytest

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.proxy.asking import AskingContext
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import ServerTlsStream, TlsStream
from tests.pki import pair, server_context


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Reference cycles stay where they are."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Contexts for the server's side."""
    folder, shown = tmp_path_factory.mktemp("tls"), pair("a.test")
    plain = server_context(folder, shown)
    asking = AskingContext(plain)
    asking.load_cert_chain(*map(str, shown.files(Path(folder))))
    return {"tls": plain, "asking": asking}


def sockets() -> list[_socket.socket]:
    made = []
    for end in socket.socketpair():
        end.setblocking(False)
        made.append(_socket.socket(fileno=end.detach()))
    return made


def streams(kind: str, server: dict[str, Any]) -> tuple[Stream, Stream]:
    """Two ends that are connected, after their handshake."""
    near, far = sockets()
    if kind == "plain":
        return Stream(near, Streams()), Stream(far, Streams())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = TlsStream(near, Streams(), context, "a.test")
    served = ServerTlsStream(far, Streams(), server[kind])
    gevent.joinall([gevent.spawn(client.handshake), gevent.spawn(served.handshake)], raise_error=True)
    return client, served


def use(ends: tuple[Stream, Stream]) -> None:
    client, served = ends
    for size in (1, 100_000):
        writer = gevent.spawn(client.write, b"x" * size)
        while size:
            size -= len(served.read())
        writer.get(timeout=30)


def fails_to_read(stream: Stream, error: type[Exception]) -> gevent.Greenlet:
    """Somebody who waits for more, in vain."""

    def wait() -> None:
        with contextlib.suppress(error):
            stream.read()
            raise AssertionError("nothing was to come")

    reader = gevent.spawn(wait)
    gevent.sleep(0)
    return reader


def close_while_read(ends: tuple[Stream, Stream]) -> None:
    reader = fails_to_read(ends[1], ConnectionClosed)
    ends[1].close()
    reader.get(timeout=30)


def wait_too_long(ends: tuple[Stream, Stream]) -> None:
    ends[1].read_timeout = 0.01
    fails_to_read(ends[1], DeadlineExceeded).get(timeout=30)
    for _ in range(2):  # it stays so
        with contextlib.suppress(DeadlineExceeded):
            ends[1].write(b"x")
            raise AssertionError("it has failed before")


def reset(ends: tuple[Stream, Stream]) -> None:
    use(ends)
    ends[0].reset()


@pytest.mark.parametrize("kind", ["plain", "tls", "asking"])
@pytest.mark.parametrize("history", [use, close_while_read, wait_too_long, reset], ids=lambda history: history.__name__)
def test_nothing_is_left(kind: str, server: dict[str, Any], history: Callable[[tuple[Stream, Stream]], None]) -> None:
    ends = streams(kind, server)
    left = [ref(end) for end in ends]
    if kind != "plain":
        left += [ref(end.tls) for end in ends if isinstance(end, TlsStream)]
    history(ends)
    for end in ends:
        end.close()
    del ends, end
    gevent.sleep(0)
    gevent.sleep(0.01)
    assert [each() for each in left] == [None] * len(left)


class Listening:
    """An owner that looks whether its stream has ended, as a client's connection does while it waits."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.seen: list[bool] = []

    def heard(self) -> None:
        """Called in the hub."""
        self.seen.append(self.stream.has_ended())


@pytest.mark.parametrize("kind", ["plain", "tls", "asking"])
def test_an_end_is_told_once(kind: str, server: dict[str, Any]) -> None:
    """Who is busy otherwise needs no loop that turns until it has time."""
    near, far = streams(kind, server)
    far.owner = owner = Listening(far)
    near.close()
    for _ in range(20):
        gevent.sleep(0.001)
    far.close()
    assert owner.seen == [True]
