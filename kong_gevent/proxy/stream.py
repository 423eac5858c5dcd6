"""A non-blocking socket with a read watcher that stays started: the cheapest way to wait under gevent.

Strategy: gevent's socket objects start and stop a watcher for each wait; this one starts it once and only stops it
while data waits that nobody wants, which is the back-pressure. One greenlet at most waits to read and one to write.
A stream that nobody uses right now (an idle client, a pooled upstream) holds no greenlet: its `idle` callback is
called when something arrives. Its deadlines are watched by `deadlines.Streams`.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent import get_hub, getcurrent

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, again
from kong_gevent.proxy.deadlines import NEVER, PRECISE_BELOW, Streams
from kong_gevent.proxy.turn import MOST

READ, WRITE = 1, 2
READ_SIZE = 65536
_RECEIVED, _UNTAKEN = termios.FIONREAD, termios.TIOCOUTQ
_ANSWER = bytes(4)
_LATE = "the peer did not do its part in time"
_SHORTEST = 0.001


class Stream:
    """One connection. `read_timeout` and `write_timeout` are in s; `idle` is called once when an idle stream wakes."""

    __slots__ = (
        "_late",
        "_loop",
        "_on_readable",
        "_reader",
        "_streams",
        "_switch",
        "_watcher",
        "_write_watcher",
        "_writer",
        "credit_to_send",
        "credit_to_take",
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
        "unsent",
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
        self.pending, self.unsent = False, b""
        self.idle: Callable[[Any], None] | None = None
        self.owner: Any = None
        self.fault: Exception | None = None
        self.read_timeout = self.write_timeout = 60.0
        self.deadline = self.write_deadline = self.credit_to_send = self.credit_to_take = NEVER
        self._late = False
        self._streams = streams
        self._on_readable: Any = self._readable
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

    def recheck(self) -> None:
        """Have `pending` tell what is so, after bytes were taken that nobody had waited for."""
        if self.is_quiet():
            self.resume()
        elif not self.pending and self._watcher is not None:
            self.pending = True
            self._watcher.stop()

    @property
    def untaken(self) -> bool:
        """Whether the stream failed because the peer did not take what it was sent in time."""
        return self._late

    def wait_readable(self) -> None:
        """Return when there may be something to read. Raises `ConnectionClosed`, `DeadlineExceeded`."""
        if self.fault is not None:
            raise again(self.fault)
        if self.pending:
            self.pending = False
            self._watcher.start(self._on_readable)
            return
        began = monotonic()
        credit = self.credit_to_send
        timeout = self.read_timeout if credit == NEVER else max(min(self.read_timeout, credit), _SHORTEST)
        self.deadline = began + timeout
        self._reader = getcurrent()
        try:
            if timeout < PRECISE_BELOW:
                self._wait_precisely(timeout)
            else:
                self._switch()
        finally:
            self._reader = None
        if self.fault is not None:
            raise again(self.fault)
        if credit != NEVER:
            self.credit_to_send = self._streams.sending.left(credit, monotonic() - began, self._in_kernel(_RECEIVED))

    def wait_writable(self) -> None:
        """Return when something can be written. Raises `ConnectionClosed`, `DeadlineExceeded`.

        A peer that takes bytes all the time but too few to make room for more is given time, as long as it is fast
        enough.
        """
        if self.fault is not None:
            raise again(self.fault)
        watcher = self._write_watcher
        if watcher is None:
            watcher = self._write_watcher = self._loop.io(self.fd, WRITE)
        while True:
            began = monotonic()
            credit = self.credit_to_take
            paced = credit != NEVER
            timeout = max(min(self.write_timeout, credit), _SHORTEST) if paced else self.write_timeout
            queued = self._in_kernel(_UNTAKEN) if paced else 0
            self._wait_with(watcher, began, timeout)
            if paced and not self.closed:
                taken = queued - self._in_kernel(_UNTAKEN)
                self.credit_to_take = self._streams.taking.left(credit, monotonic() - began, max(0, taken))
                if self._late and taken > 0 and self.credit_to_take > 0 and self.fault is None:
                    self._late = False
                    continue
            if self._late and self.fault is None:
                self.fault = DeadlineExceeded(_LATE)
                self._wake()
            if self.fault is not None:
                raise again(self.fault)
            return

    def _wait_with(self, watcher: Any, began: float, timeout: float) -> None:
        self.write_deadline = began + timeout
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

    def _in_kernel(self, question: int) -> int:
        """Bytes that the kernel holds of this connection: received and not read, or sent and not taken by the peer."""
        return int.from_bytes(fcntl.ioctl(self.fd, question, _ANSWER), sys.byteorder)

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
        if self.write_deadline <= now:
            self.write_deadline = NEVER
            if self._writer is not None:
                self._loop.run_callback(self._tell_writer, self._writer)
        if self.deadline > now:
            return
        self.deadline = NEVER
        idle = self.idle
        if idle is None and self._reader is None:
            return
        self.fault = DeadlineExceeded(_LATE)
        if idle is not None:
            self.idle = None
            idle(self)
        else:
            self._wake()

    def _tell_writer(self, writer: Any) -> None:
        if self._writer is writer and self.write_deadline == NEVER:  # still in the wait that took too long
            self._writer = None
            self._late = True
            writer.switch()

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
                    raise again(self.fault)
            try:
                return self.recv(size)
            except BlockingIOError:
                continue

    def write(self, data: bytes) -> None:
        """Send all of `data`, waiting while the peer does not take it."""
        if self.fault is not None:
            raise again(self.fault)
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._write_rest(memoryview(data)[sent:])

    def write_soon(self, data: bytes) -> None:
        """Send what is short, and whose answer is read next, when this turn of the event loop ends (see `turn`).

        It is `unsent` until then. Reading raises what sending has met.
        """
        if self.fault is not None:
            raise again(self.fault)
        if self.unsent:
            self.unsent += data
            return
        self.unsent = data
        outbox = self._streams.outbox
        if not outbox:
            self._loop.run_callback(outbox.flush)  # before the loop waits for anything
        outbox.append(self)
        if len(outbox) >= MOST:
            outbox.flush()

    def fail(self, error: Exception) -> None:
        """Have whoever waits, or comes next, raise this error."""
        if self.fault is None:
            self.fault = again(error)
        self._wake()

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
            self.resume()  # what it was `pending` for has been taken meanwhile: go on listening
            return False

    def is_quiet(self) -> bool:
        """Whether the kernel has nothing to tell: no byte that came, no end, no error."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
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
        self._watcher = self._on_readable = None  # what refers to itself would stay until garbage is collected
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
