"""A non-blocking socket with a read watcher that stays started: the cheapest way to wait under gevent.

Strategy: gevent's socket objects start and stop a watcher for each wait; this one starts it once and only stops it
while data waits that nobody wants, which is the back-pressure. One greenlet at most waits to read and one to write.
A stream that nobody uses right now (an idle client, a pooled upstream) holds no greenlet: its `idle` callback is
called when something arrives. Deadlines are plain numbers that a sweeper compares with the clock now and then.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from gevent.socket import wait_write

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, GatewayError

READ, WRITE = 1, 2
READ_SIZE = 65536
NEVER = float("inf")
PIPE_SIZE = 262144
MAX_PIPES = 32
_F_SETPIPE_SZ = 1031
_SPLICE_FLAGS = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
SWEEP_SECONDS = 0.2
"""How late a deadline of a second or more may be noticed."""
PRECISE_BELOW = 1.0
"""Timeouts shorter than this many seconds get a timer of their own."""


class Streams:
    """All open streams of one event loop, and the sweeper that enforces their deadlines."""

    def __init__(self) -> None:
        self.open: set[Stream] = set()
        self._sweeper: gevent.Greenlet | None = None

    def add(self, stream: Stream) -> None:
        """Watch over a stream until it is closed."""
        self.open.add(stream)
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def _sweep(self) -> None:
        while True:
            gevent.sleep(SWEEP_SECONDS)
            gevent.sleep(0)  # after a pause of this process, what came in time still waits in the kernel: it goes first
            now = monotonic()
            for stream in [stream for stream in self.open if stream.deadline < now or stream.write_deadline < now]:
                stream.expire(now)


class Stream:
    """One connection. `read_timeout` and `write_timeout` are in s; `idle` is called once when an idle stream wakes."""

    __slots__ = (
        "_loop",
        "_on_readable",
        "_reader",
        "_streams",
        "_switch",
        "_watcher",
        "_write_watcher",
        "_writer",
        "deadline",
        "fault",
        "fd",
        "idle",
        "owner",
        "pending",
        "read_timeout",
        "recv",
        "send",
        "sock",
        "write_deadline",
        "write_timeout",
        "__weakref__",
    )

    recv: Callable[[int], bytes]

    def __init__(self, sock: _socket.socket, streams: Streams) -> None:
        hub = get_hub()
        self.sock = sock
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.send = sock.send
        self._loop = hub.loop
        self._switch = hub.switch
        self._reader: Any = None
        self._writer: Any = None
        self._write_watcher: Any = None
        self.pending = False
        self.idle: Callable[[Any], None] | None = None
        self.owner: Any = None
        self.fault: Exception | None = None
        self.read_timeout = self.write_timeout = 60.0
        self.deadline = self.write_deadline = NEVER
        self._streams = streams
        self._on_readable = self._readable
        self._watcher = hub.loop.io(self.fd, READ)
        self._watcher.start(self._on_readable)
        streams.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._watcher is None else "idle" if self.idle else "pending" if self.pending else "open"
        return f"<{type(self).__name__} fd={self.fd} {state}>"

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed."""
        return self._watcher is None

    @property
    def writing(self) -> bool:
        """Whether a greenlet waits for the peer to take what it was sent."""
        return self._writer is not None

    # --- waiting -------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """The watcher's callback, run in the hub."""
        reader = self._reader
        if reader is not None:
            self._reader = None
            reader.switch()
            return
        idle = self.idle
        if idle is not None:
            self.idle = None
            idle(self)
        else:
            self.pending = True
            self._watcher.stop()
            if self.owner is not None:
                self.owner.heard()

    def resume(self) -> None:
        """Take notice of data again after `pending` has been seen."""
        if self.pending:
            self.pending = False
            if self._watcher is not None:
                self._watcher.start(self._on_readable)

    def wait_readable(self) -> None:
        """Return when there may be something to read. Raises `ConnectionClosed`, `DeadlineExceeded`."""
        if self.fault is not None:
            raise self.fault
        if self.pending:
            self.pending = False
            self._watcher.start(self._on_readable)
            return
        timeout = self.read_timeout
        self.deadline = monotonic() + timeout
        self._reader = getcurrent()
        try:
            if timeout < PRECISE_BELOW:
                self._wait_precisely(timeout)
            else:
                self._switch()
        finally:
            self._reader = None
        if self.fault is not None:
            raise self.fault

    def wait_writable(self) -> None:
        """Return when something can be written. Raises `ConnectionClosed`, `DeadlineExceeded`."""
        if self.fault is not None:
            raise self.fault
        watcher = self._write_watcher
        if watcher is None:
            watcher = self._write_watcher = self._loop.io(self.fd, WRITE)
        timeout = self.write_timeout
        self.write_deadline = monotonic() + timeout
        current = self._writer = getcurrent()
        watcher.start(current.switch)
        try:
            if timeout < PRECISE_BELOW:
                self._wait_precisely(timeout)
            else:
                self._switch()
        finally:
            self._writer = None
            self.write_deadline = NEVER
            if self._write_watcher is not None:
                watcher.stop()
        if self.fault is not None:
            raise self.fault

    def _wait_precisely(self, timeout: float) -> None:
        timer = self._loop.timer(timeout)
        timer.start(self._loop.run_callback, self._expire_now, update=True)  # in the next turn, as the sweeper does
        try:
            self._switch()
        finally:
            timer.stop()
            timer.close()

    def _expire_now(self) -> None:
        self.expire(monotonic())

    def expire(self, now: float) -> None:
        """A deadline may have passed: the owner of an idle stream or waiting greenlets find a `DeadlineExceeded`.

        The deadline of a wait that is over stays as it is and means nothing.
        """
        idle = self.idle
        late = False
        if self.deadline <= now:
            self.deadline = NEVER
            late = idle is not None or self._reader is not None
        if self.write_deadline <= now:
            self.write_deadline = NEVER
            late = late or self._writer is not None
        if not late:
            return
        self.fault = DeadlineExceeded("the peer did not do its part in time")
        if idle is not None:
            self.idle = None
            idle(self)
        else:
            self._wake()

    def _wake(self) -> None:
        """Let waiting greenlets see the fault, from the hub; one that has been woken meanwhile is left alone."""
        if self._reader is not None or self._writer is not None:
            self._loop.run_callback(self._deliver)

    def _deliver(self) -> None:
        reader, writer = self._reader, self._writer
        if reader is not None:
            self._reader = None
            reader.switch()
        if writer is not None and writer is not reader and self._writer is writer:
            self._writer = None
            writer.switch()

    # --- bytes ---------------------------------------------------------------------------------------------------

    def read(self, size: int = READ_SIZE) -> bytes:
        """Wait for data and return up to `size` bytes of it; empty at the end of the stream.

        Raises `ConnectionClosed`, `DeadlineExceeded`, `OSError`.
        """
        while True:
            timeout = self.read_timeout
            if self.pending or timeout < PRECISE_BELOW or self.fault is not None:
                self.wait_readable()
            else:  # `wait_readable` in line: this is where a gateway spends its life
                self.deadline = monotonic() + timeout
                self._reader = getcurrent()
                try:
                    self._switch()
                finally:
                    self._reader = None
                if self.fault is not None:
                    raise self.fault
            try:
                return self.recv(size)
            except BlockingIOError:
                continue

    def write(self, data: bytes) -> None:
        """Send all of `data`, waiting while the peer does not take it."""
        if self.fault is not None:
            raise self.fault
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._write_rest(memoryview(data)[sent:])

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            self.wait_writable()
            try:
                rest = rest[self.send(rest) :]
            except BlockingIOError:
                continue

    def has_ended(self) -> bool:
        """Whether the peer has closed its side; nothing is taken from what it sent. Raises `OSError`."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET):
                raise

    def close(self) -> None:
        """Close the socket at once; whoever waits on it gets `ConnectionClosed`."""
        watcher = self._watcher
        if watcher is None:
            return
        self._watcher = None
        watcher.stop()
        watcher.close()
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
            self._write_watcher = None
        self._streams.open.discard(self)
        self.idle = None
        self.pending = False
        self.sock.close()
        if self.fault is None:
            self.fault = ConnectionClosed("the connection is closed")
        self._wake()

    def reset(self) -> None:
        """Close so that the peer notices that the message was cut (TCP reset)."""
        if self._watcher is not None:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass
        self.close()

    @property
    def plain(self) -> bool:
        """Whether the bytes on the socket are the bytes read and written here (no TLS in between)."""
        return True


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


def splice(source: Stream, sink: Stream, count: int, moved: Callable[[int], None]) -> None:
    """Move `count` bytes from `source` to `sink` inside the kernel; `moved` is told how many left the source.

    Raises `SourceFailed`, or what writing to `sink` raises.
    """
    ends = Pipes.take()
    left, held = count, 0
    try:
        while left or held:
            if not held:
                held = _fill(source, ends[1], min(left, PIPE_SIZE))
                left -= held
                moved(held)
            while held:
                try:
                    held -= os.splice(ends[0], sink.fd, held, flags=_SPLICE_FLAGS)
                except BlockingIOError:
                    sink.wait_writable()
    finally:
        Pipes.give(ends, clean=not held)


def _fill(source: Stream, pipe: int, count: int) -> int:
    """Move bytes from the source into a pipe, waiting for the first."""
    while True:
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


def connect(family: int, address: Any, timeout: float) -> _socket.socket:
    """A connected non-blocking socket; `timeout` in s. Raises `OSError`, `DeadlineExceeded`."""
    sock = _socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failure = sock.connect_ex(address)
        if failure == errno.EINPROGRESS:
            try:
                wait_write(sock.fileno(), timeout)
            except TimeoutError:
                raise DeadlineExceeded(f"no connection to {address} in {timeout:g} s") from None
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
    except BaseException:
        sock.close()
        raise
    return sock
