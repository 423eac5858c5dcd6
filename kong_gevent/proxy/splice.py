"""Moving bodies between sockets inside the kernel, through pipes that are kept for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import gevent

from kong_gevent.errors import ConnectionClosed, GatewayError, again
from kong_gevent.proxy.stream import Stream

PIPE_SIZE = 262144
MAX_PIPES = 32
FAIR = 8
"""Times that a pipe is filled in a row before others get a turn."""
_F_SETPIPE_SZ = 1031
_SPLICE_FLAGS = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK


class Pipes:
    """Kernel pipes for moving bodies between sockets without copying them through Python."""

    _free: list[tuple[int, int]] = []

    @classmethod
    def take(cls) -> tuple[int, int]:
        """A pipe (read end, write end), enlarged as far as the quota allows. Raises OSError without descriptors."""
        if cls._free:
            return cls._free.pop()
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(ends[1], _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            return ends  # the default size works, only slower
        return ends

    @classmethod
    def give(cls, ends: tuple[int, int], clean: bool) -> None:
        """Return a pipe; one that may still hold bytes is closed."""
        if clean and len(cls._free) < MAX_PIPES:
            cls._free.append(ends)
        else:
            os.close(ends[0])
            os.close(ends[1])


class SourceFailed(GatewayError):
    """The stream that bytes are taken from broke off while they were moved to another; `cause` says how."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))


def splice(source: Stream, sink: Stream, count: int, moved: Callable[[int], None]) -> bool:
    """Move `count` bytes from `source` to `sink` inside the kernel; `moved` is told how many left the source.

    False when there are no descriptors left for a pipe: nothing has been moved then. Raises `SourceFailed`, or what
    writing to `sink` raises. While one stream is waited for, the other may be closed, and its descriptor may become
    that of another connection: it is looked at before each use.
    """
    try:
        ends = Pipes.take()
    except OSError:
        return False
    left, held, fills = count, 0, 0
    try:
        while left or held:
            if not held:
                fills += 1
                if not fills % FAIR:
                    gevent.sleep(0)  # two peers that are faster than this process would have it for themselves
                held = _fill(source, ends[1], min(left, PIPE_SIZE))
                left -= held
                moved(held)
            if sink.fault is not None:
                raise again(sink.fault)
            while held:
                try:
                    held -= os.splice(ends[0], sink.fd, held, flags=_SPLICE_FLAGS)
                except BlockingIOError:
                    sink.wait_writable()
    finally:
        Pipes.give(ends, clean=not held)
    source.recheck()
    return True


def _fill(source: Stream, pipe: int, count: int) -> int:
    """Move bytes from the source into a pipe, waiting for the first."""
    while True:
        if source.fault is not None:
            raise SourceFailed(again(source.fault))
        try:
            moved = os.splice(source.fd, pipe, count, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            try:
                source.wait_readable()
            except (OSError, GatewayError) as error:
                raise SourceFailed(error) from error
            continue
        except OSError as error:
            raise SourceFailed(error) from error
        if not moved:
            raise SourceFailed(ConnectionClosed("the body ended early"))
        return moved
