"""TLS on a stream through memory buffers: no socket object of the ssl module, so no extra watchers per wait.

Strategy: `recv` keeps the contract of a raw socket's (bytes, nothing at the end, `BlockingIOError`), so that whoever
reads a clear stream reads an encrypted one in the same way. Bytes that were received but not asked for yet leave the
stream `pending`, as if they still were in the kernel: the watcher stands still, which is the back-pressure. OpenSSL is
not asked before there are bytes for it: its answer that there are none costs more than reading a request.
"""

from __future__ import annotations

import _socket
import errno
import os
import ssl
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import DeadlineExceeded, again
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.stream import READ_SIZE, Stream

if TYPE_CHECKING:
    from kong_gevent.proxy.asking import AskingContext, AskingSide

MAX_WRITE = 262144
"""Bytes that are encrypted before the first of them are sent: the bound on the memory of one write."""
PIECE = 16384
"""Bytes that are encrypted at once: a record. Memory buffers keep the size they have had, so it must not be more."""
MAX_BEGINNINGS = 3
"""How often one handshake may begin anew."""
_ENCRYPTED = PIECE + 512
"""Bytes that are taken from the kernel at once: what a record has at most."""
MAX_HANDSHAKE = 65536
"""Bytes that a client may say until its handshake is done: they are held, so that it can begin anew."""
MAX_EMPTY = 2 * _ENCRYPTED
"""Bytes in a row that hold no data: TLS's own messages, each of which costs more to read than to send."""
MAX_UNSENT = 65536
"""Bytes of TLS's own answers that wait for a peer who does not take them."""
FAIR = 16
"""Reads that find data in a row before others get a turn."""


class TlsStream(Stream):
    """A stream whose bytes are encrypted on the way; call `handshake` before anything else.

    Raises `ssl.SSLError` for a server name that TLS cannot take; the socket is closed then.
    """

    __slots__ = (
        "_ahead", "_empty", "_held", "_in_a_row", "_incoming", "_inner", "_outgoing", "_raw_recv", "_sending",
        "_silent", "_unsent", "heard", "tls",
    )  # fmt: skip

    speaks_first = True
    """Whether the handshake begins on this side."""
    needs_closing_alert = True
    """Whether an end without TLS's own closing alert is an error: somebody else may have cut the message."""

    tls: ssl.SSLObject | AskingSide
    """The TLS side of this connection: version, cipher, certificate of the peer."""
    heard: list[bytes]
    """What the peer has said in the handshake so far, as long as that is not done."""
    _inner: ssl.SSLObject | AskingSide
    _raw_recv: Callable[[int], bytes]

    def __init__(
        self,
        sock: _socket.socket,
        streams: Streams,
        context: ssl.SSLContext,
        server_name: str | None = None,
        *,
        server: bool = False,
    ) -> None:
        super().__init__(sock, streams)
        self._raw_recv = sock.recv
        self.recv = self._decrypt
        self._ahead = b""
        self._unsent = b""
        self.heard = []
        self._sending = self._silent = False
        self._empty = self._in_a_row = 0
        try:
            self._begin(context, server_name, server)
        except ValueError as error:
            super().close()
            raise ssl.SSLError(1, f"{server_name!r} cannot be the name of a TLS server: {error}") from error

    def _begin(self, context: ssl.SSLContext | AskingContext, server_name: str | None, server: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=server_name)
        self._inner = getattr(self.tls, "_sslobj", None) or self.tls  # around the one is nothing but a call
        if hasattr(self.tls, "heard"):  # it decides by what is said
            self.tls.heard = self.heard
        self._held = False

    def handshake(
        self,
        timeout: float | None = None,
        begin_anew: Callable[[ssl.SSLObject | AskingSide], ssl.SSLContext | AskingContext | None] | None = None,
    ) -> None:
        """Agree on keys and check the peer's certificate, within `timeout` s in all (None: `read_timeout` a wait).

        `begin_anew`: asked when a server's handshake fails; the context with which to read the same bytes once more.
        Raises `ssl.SSLError`, `DeadlineExceeded` and what reading and writing raise.
        """
        until = None if timeout is None else monotonic() + timeout
        beginnings = 0
        if not self.speaks_first:
            self._listen(until)
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._listen(until)
            except ssl.SSLError:
                beginnings += 1
                context = begin_anew(self.tls) if begin_anew is not None and beginnings <= MAX_BEGINNINGS else None
                if context is None:
                    self._flush()  # the alert that says why
                    raise
                self._begin(context, None, server=True)
                for data in self.heard:
                    self._take(data)
            else:
                # Also tickets that nobody waits for: with them goes an acknowledgement that a client may wait for.
                self._flush()
                self._held = bool(self._incoming.pending or self._inner.pending())
                self._empty = 0
                self.heard.clear()
                return

    def _listen(self, until: float | None) -> None:
        """Wait for the peer's next words and take them. Raises `DeadlineExceeded`, `ssl.SSLError`."""
        if until is not None:
            self.read_timeout = until - monotonic()
            if self.read_timeout <= 0:
                raise DeadlineExceeded("the handshake took too long")
        if self._empty > MAX_HANDSHAKE and not self.speaks_first:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the handshake is too long")
        data = self._wait_for_bytes()
        self.heard.append(data)
        self._take(data)

    def _wait_for_bytes(self) -> bytes:
        while True:
            try:
                return self._raw_recv(_ENCRYPTED)
            except BlockingIOError:
                self.wait_readable()

    def _take(self, data: bytes) -> None:
        if data:
            self._empty += len(data)
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _decrypt(self, size: int) -> bytes:
        """`recv`: up to `size` bytes that are here, empty at the end. Raises `BlockingIOError`, `ssl.SSLError`."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            self._notice_rest()
            return data
        if not self._held:
            if self._outgoing.pending:
                self._send_what_goes()
            self._take(self._raw_recv(_ENCRYPTED))
        while True:
            try:
                data = self._inner.read(size)
            except ssl.SSLWantReadError:
                self._held = False
                if self._outgoing.pending:
                    self._send_what_goes()
                if self._empty > MAX_EMPTY:
                    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "too many messages without data") from None
                self._take(self._raw_recv(_ENCRYPTED))
            except ssl.SSLZeroReturnError:
                self._raw_recv = _nothing  # whatever the kernel has, it is the end
                return b""
            except ssl.SSLEOFError:
                if self.needs_closing_alert:
                    raise
                return b""
            else:
                self._empty = 0
                self._notice_rest()
                return data

    def _notice_rest(self) -> None:
        """Bytes that wait in our buffers never make the socket readable: say whether there are some."""
        self._held = bool(self._incoming.pending or self._inner.pending() or self._ahead)
        if not self._held:
            if self.pending:
                self.resume()
        elif not self.pending and self._watcher is not None:
            self.pending = True
            self._watcher.stop()

    def read(self, size: int = READ_SIZE) -> bytes:
        """As `Stream.read`, decrypted. An end without TLS's own closing alert counts as `ssl.SSLError`."""
        self._in_a_row += 1
        if self._in_a_row > FAIR:
            self._in_a_row = 0
            gevent.sleep(0)  # a peer that is faster than this process would have it for itself
        while True:
            if self.fault is not None:
                raise again(self.fault)
            try:
                return self._decrypt(size)
            except BlockingIOError:
                self._in_a_row = 0
                self.wait_readable()

    def has_ended(self) -> bool:
        """See `Stream.has_ended`: one record may have to be decrypted to know, which the next `recv` returns."""
        try:
            self._ahead = self._ahead or self._decrypt(PIECE)
        except BlockingIOError:
            self.resume()  # half a record: go on listening
            return False
        if not self._ahead:
            return True  # the watcher stays as it is: it would tell of the end in every turn of the loop
        self._notice_rest()
        return False

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """As `Stream.write`, encrypted."""
        if self.fault is not None:
            raise again(self.fault)
        if len(data) > PIECE:
            self._write_large(memoryview(data))
        elif data:
            self._inner.write(data)
            self._flush()

    def write_soon(self, data: bytes) -> None:
        """As `write`: what was encrypted must not be overtaken by TLS's own messages."""
        self.write(data)

    def _write_large(self, data: memoryview) -> None:
        for at in range(0, len(data), MAX_WRITE):
            records = []
            for piece in range(at, min(at + MAX_WRITE, len(data)), PIECE):
                self._inner.write(data[piece : piece + PIECE])
                records.append(self._outgoing.read())
            self._send_all(b"".join(records))

    def _flush(self) -> None:
        """Send everything that TLS has to say, waiting while the peer does not take it."""
        self._send_all(self._outgoing.read())

    def _send_all(self, data: bytes) -> None:
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        if not data:
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._silent = True
            raise
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, data: memoryview) -> None:
        self._sending = True
        try:
            self._write_rest(data)
        except BaseException:
            self._silent = True  # in the middle of a record
            raise
        finally:
            self._sending = False

    def _send_what_goes(self) -> None:
        """For a reader, who must not wait: TLS's own messages go as far as the socket takes them now."""
        if not self._sending:  # else whoever writes takes them along
            data = self._unsent + self._outgoing.read()
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0
            self._unsent = data[sent:]
        if len(self._unsent) + self._outgoing.pending > MAX_UNSENT:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer does not take what TLS has to say")

    def shutdown_write(self) -> None:
        """Send the closing alert, as far as that takes no waiting. The peer may go on until it closes, too."""
        if self.closed or self._sending or self._silent:
            return
        try:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # the peer's own alert is not here yet, or the handshake was never done
            self._send_what_goes()
        except OSError:
            self._silent = True  # the peer has gone

    def close(self) -> None:
        """See `Stream.close`; the peer is told that the end is meant."""
        self.shutdown_write()
        super().close()
        self.recv = _closed  # no reference to itself any more

    def reset(self) -> None:
        """See `Stream.reset`; without the closing alert."""
        self._silent = True
        super().reset()

    @property
    def plain(self) -> bool:
        """False: the kernel cannot move bodies past the encryption."""
        return False


def _nothing(size: int) -> bytes:
    """What there is to receive after the end."""
    return b""


def _closed(size: int) -> bytes:
    """What there is to receive when the socket is closed."""
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class ServerTlsStream(TlsStream):
    """A client's encrypted connection. Requests are framed, so an end without closing alert is just an end."""

    __slots__ = ()

    speaks_first = False
    needs_closing_alert = False

    def __init__(self, sock: _socket.socket, streams: Streams, context: ssl.SSLContext) -> None:
        super().__init__(sock, streams, context, server=True)
