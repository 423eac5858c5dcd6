"""Connections to Cassandra: on greenlets where the process is patched, on the driver's threads where it is not.

The driver's own gevent connection is deprecated, kills the greenlet that is about to fail its requests when a server
goes away, and reads little at a time. Protocol version 4 is a must: the driver loses bytes of version 5 when a read
ends within a segment's header.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from cassandra import AuthenticationFailed
from cassandra.connection import Connection, ConnectionException, ConnectionShutdown, ProtocolVersionUnsupported
from cassandra.io.libevreactor import LibevConnection
from gevent import socket, ssl
from gevent.event import Event

log = logging.getLogger("kong_gevent.cassandra")

PROTOCOL_VERSION = 4
READ_SIZE = 65536
_NOW = 0.0


class LoginRefused(ConnectionException):
    """The server refused the login. As a connection error, so that the driver goes on trying: roles may come later."""


class ProtocolRefused(ConnectionException):
    """The server does not speak version 4 of the native protocol."""


class _Strict:
    """What the driver's factory of connections gets wrong, for both kinds of connections."""

    @classmethod
    def factory(cls, endpoint: Any, timeout: float, *args: Any, **options: Any) -> Any:
        """A connection that is ready. Raises ConnectionException (refused logins too), OSError or OperationTimedOut."""
        try:
            made = super().factory(endpoint, timeout, *args, **options)  # type: ignore[misc]
        except AuthenticationFailed as error:
            raise LoginRefused(str(error), endpoint) from error
        except ProtocolVersionUnsupported as error:
            raise ProtocolRefused(str(error), endpoint) from error
        if made.is_closed:
            raise ConnectionShutdown("the server closed the connection during the handshake", endpoint)
        return made


class ThreadConnection(_Strict, LibevConnection):
    """For processes that are not patched: an event loop in a native thread."""

    def close(self) -> None:
        """Close the socket; whoever waits for the handshake hears of it, instead of waiting its whole time."""
        super().close()
        self.connected_event.set()


class _Timer:
    """One timer on the hub's loop; what it calls runs in a greenlet, because it takes locks."""

    __slots__ = ("_callback", "_watcher")

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        self._callback = callback
        self._watcher = gevent.get_hub().loop.timer(max(seconds, _NOW))
        # The loop's idea of now is that of its last turn, which may be long over.
        self._watcher.start(self._fire, update=True)

    def _fire(self) -> None:
        self._watcher.close()
        gevent.spawn(self._callback)

    def cancel(self) -> None:
        """Forget it; harmless when it has gone off."""
        self._watcher.stop()
        self._watcher.close()


class GreenletConnection(_Strict, Connection):
    """One reader greenlet; requests of one turn of the loop leave in one packet, in the order in which they came.

    Nothing is ever killed: closing the socket wakes the reader, which may be busy failing requests.
    """

    _socket_impl = socket
    _ssl_impl = ssl

    def __init__(self, *args: Any, **options: Any) -> None:
        self.is_closed = False
        super().__init__(*args, **options)
        self.connected_event = Event()
        self._unsent: list[bytes] = []
        self._sending = False  # a flush is due, or a greenlet is sending
        self._connect_socket()
        self._secure = isinstance(self._socket, ssl.SSLSocket)
        gevent.spawn(self._read)
        self._send_options_message()

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> _Timer:
        """Call `callback` in a greenlet after `timeout` seconds unless it is cancelled."""
        return _Timer(timeout, callback)

    def push(self, data: bytes) -> None:
        """Send `data` with whatever else is pushed in this turn of the loop. Never blocks."""
        self._unsent.append(data)
        if not self._sending:
            self._sending = True
            gevent.get_hub().loop.run_callback(self._flush)

    def close(self) -> None:
        """Close the socket; requests in flight fail, so that the driver takes them elsewhere."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        if self._socket is not None:
            self._socket.close()
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"the connection to {self.endpoint} was closed", self.endpoint))
            self.connected_event.set()

    def _read(self) -> None:
        try:
            receive = self._socket.recv
            while data := receive(READ_SIZE):
                self._iobuf.write(data)
                self.process_io_buffer()
            raise ConnectionShutdown("the server closed the connection", self.endpoint)
        except Exception as error:
            self.defunct(error)  # nothing happens where it is closed already

    def _flush(self) -> None:
        """In the hub: send what the socket takes at once, leave the rest to a greenlet."""
        if self.is_closed:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        try:
            if not self._secure:
                data = data[self._socket.send(data, 0, _NOW) :]
        except BlockingIOError:
            pass  # all of it is the rest
        except Exception as error:
            gevent.spawn(self.defunct, error)
            return
        if data:
            gevent.spawn(self._drain, data)
        else:
            self._sending = False

    def _drain(self, data: bytes) -> None:
        try:
            while data:
                self._socket.sendall(data)
                data = b"".join(self._unsent)
                self._unsent.clear()
            self._sending = False
        except Exception as error:
            self.defunct(error)
