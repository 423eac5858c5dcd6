"""tcp-log: records of requests as lines over a TCP connection."""

from __future__ import annotations

import socket
import ssl
from time import monotonic
from typing import Any

from kong_gevent.pdk import Conf, Config, custom_fields, fields
from kong_gevent.pdk.logging import LogPlugin


class TcpLogConfig(Config):
    """Settings of tcp-log."""

    host = fields.Host(required=True, metadata={"description": "Name or address of the server."})
    port = fields.Port(required=True, metadata={"description": "The port of the server."})
    timeout = fields.Number(load_default=10000, metadata={"description": "Milliseconds for connecting and sending."})
    keepalive = fields.Number(
        load_default=60000, metadata={"description": "Milliseconds for which an idle connection is kept."}
    )
    tls = fields.Boolean(required=True, load_default=False, metadata={"description": "Whether to connect with TLS."})
    tls_sni = fields.String(metadata={"description": "Server name sent for TLS; the certificate is not verified."})
    custom_fields_by_lua = custom_fields.field()


class Line:
    """A connection to one server, kept while it is used often enough."""

    def __init__(self, conf: Conf, context: ssl.SSLContext | None) -> None:
        self._address = (conf.host, conf.port)
        self._timeout = conf.timeout / 1000 if conf.timeout else None
        self._keep = (conf.keepalive or 0) / 1000
        self._name = conf.tls_sni or conf.host
        self._context = context
        self._socket: socket.socket | None = None
        self._used = 0.0

    def send(self, data: bytes) -> None:
        """Send all of it, over a new connection when the kept one turns out to be dead. Raises OSError."""
        if self._socket is not None and (monotonic() - self._used > self._keep or self._ended(self._socket)):
            self.close()
        kept = self._socket is not None
        try:
            self._send(data)
        except OSError:
            self.close()
            if not kept:
                raise
            self._send(data)
        self._used = monotonic()

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = self._connect()
        self._socket.sendall(data)

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(self._address, self._timeout)
        if self._context is None:
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=self._name)
        except OSError:
            plain.close()
            raise

    @staticmethod
    def _ended(connection: socket.socket) -> bool:
        """Whether the server has closed its side (or said something, which it never should)."""
        timeout = connection.gettimeout()
        connection.settimeout(0)
        try:
            connection.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(timeout)
        return True

    def close(self) -> None:
        """Close the connection; the next record opens another."""
        open_socket, self._socket = self._socket, None
        if open_socket is not None:
            open_socket.close()


class TcpLog(LogPlugin):
    """Sends each record as one line."""

    name = "tcp-log"
    priority = 7
    config = TcpLogConfig

    def configure(self, conf: Conf) -> None:
        """Prepare the connection; it is opened by the first record."""
        conf.line = Line(conf, self.kit.tls_context(False) if conf.tls else None)
        super().configure(conf)

    def release(self, conf: Conf) -> None:
        """Close the connection."""
        conf.line.close()

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Send a batch of lines; what cannot be sent now is lost, as always with this plugin."""
        try:
            conf.line.send(b"\n".join(records) + b"\n")
        except OSError as error:
            raise OSError(f"failed to send to {conf.host}:{conf.port}: {error}") from error
