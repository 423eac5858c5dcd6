"""TLS on a stream through memory buffers: no socket object of the ssl module, so no extra watchers per wait."""

from __future__ import annotations

import _socket
import ssl

from kong_gevent.proxy.stream import READ_SIZE, Stream, Streams


class TlsStream(Stream):
    """A stream whose bytes are encrypted on the way; call `handshake` before anything else."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(
        self, sock: _socket.socket, streams: Streams, context: ssl.SSLContext, server_name: str | None
    ) -> None:
        super().__init__(sock, streams)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def handshake(self) -> None:
        """Agree on keys and check the peer's certificate. Raises `ssl.SSLError` and what reading and writing raise."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._take(super().read())
            except ssl.SSLError:
                self._flush()
                raise
            else:
                self._flush()
                return

    def _take(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            super().write(data)

    def read(self, size: int = READ_SIZE) -> bytes:
        """As `Stream.read`, decrypted. An end without TLS's own closing alert counts as `ssl.SSLError`."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._take(super().read())
            except ssl.SSLZeroReturnError:
                return b""

    def write(self, data: bytes) -> None:
        """As `Stream.write`, encrypted."""
        if data:
            self._tls.write(data)
            self._flush()

    def shutdown_write(self) -> None:
        """Send the closing alert; half-closed TLS connections are not kept."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            return
        finally:
            self._flush()

    @property
    def plain(self) -> bool:
        """False: the kernel cannot move bodies past the encryption."""
        return False
