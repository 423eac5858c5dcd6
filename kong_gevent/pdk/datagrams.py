"""Sending UDP datagrams from a plugin's queue."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from time import monotonic

from kong_gevent.pdk.kit import EntriesLost

FRESH = 60.0
"""Seconds after which the server's name is looked up again."""


class Datagrams:
    """A UDP socket for one server; `timeout` in ms (None or 0: none)."""

    def __init__(self, host: str, port: int, timeout: float | None) -> None:
        self._host = host.strip("[]")
        self._port = port
        self._timeout = timeout / 1000 if timeout else None
        self._socket: socket.socket | None = None
        self._until = 0.0

    def send(self, datagrams: Iterable[bytes]) -> None:
        """Send all; one that is too large is left out and the others go.

        Raises OSError when the server's name is not known, and EntriesLost with what failed first. Of datagrams that
        nobody has listened for only those are known which the server's machine has refused.
        """
        connected = self._connected()
        lost, failed = 0, ""
        for datagram in datagrams:
            try:
                connected.send(datagram)
            except OSError as error:
                lost, failed = lost + 1, failed or str(error)
                if isinstance(error, ConnectionRefusedError):  # about an earlier one, which nobody listened for
                    lost += self._is_refused(connected, datagram)
        if lost:
            raise EntriesLost(lost, f"failed to send to {self._host}:{self._port}: {failed}")

    @staticmethod
    def _is_refused(connected: socket.socket, datagram: bytes) -> bool:
        """Send a datagram that has not gone out yet, unless that fails."""
        try:
            connected.send(datagram)
        except OSError:
            return True
        return False

    def _connected(self) -> socket.socket:
        if self._socket is None or monotonic() > self._until:
            self.close()
            family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.settimeout(self._timeout)
            self._socket.connect(address)
            self._until = monotonic() + FRESH
        return self._socket

    def close(self) -> None:
        """Close the socket; the next datagram opens another."""
        open_socket, self._socket = self._socket, None
        if open_socket is not None:
            open_socket.close()
