"""syslog: the record of each request, told to the machine's system log."""

from __future__ import annotations

import socket
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Kit, custom_fields, fields
from kong_gevent.pdk.logging import LogPlugin, Severities, severity_fields

FACILITIES = {
    "auth": 4,
    "authpriv": 10,
    "cron": 9,
    "daemon": 3,
    "ftp": 11,
    "kern": 0,
    "lpr": 6,
    "mail": 2,
    "news": 7,
    "syslog": 5,
    "user": 1,
    "uucp": 8,
    **{f"local{number}": 16 + number for number in range(8)},
}
"""Numbers of RFC 5424, section 6.2.1, under the names of syslog(3)."""
SOCKET = "/dev/log"
IDENT = "kong"


class SyslogConfig(Config):
    """Settings of syslog."""

    log_level, successful_severity, client_errors_severity, server_errors_severity = severity_fields(True).values()
    custom_fields_by_lua = custom_fields.field()
    facility = fields.Choice(
        *FACILITIES, required=True, load_default="user", metadata={"description": "What kind of program is logging."}
    )


class Syslog(LogPlugin):
    """Writes to the local socket, with a severity that follows the answer's status."""

    name = "syslog"
    priority = 4
    config = SyslogConfig
    socket_path = SOCKET

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._socket: socket.socket | None = None

    def configure(self, conf: Conf) -> None:
        """Prepare severities and the facility's number."""
        conf.severities = Severities(conf)
        conf.base = FACILITIES[conf.facility] << 3
        super().configure(conf)

    def retire(self, conf: Conf) -> None:
        """Close the socket; whoever else uses it opens another."""
        self._close()

    def log(self, ctx: Context, conf: Conf) -> None:
        """Queue the record unless it is of no interest."""
        severity = conf.severities.of(ctx.status)
        if severity is not None:
            head = f"<{conf.base | severity}>{IDENT}[{self.kit.worker_pid}]: ".encode()
            conf.queue_now.put(head + self.entry(ctx, conf))

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Send a batch, one datagram each; once more over a new socket, since the daemon may have been restarted."""
        for record in records:
            try:
                self._connected().send(record)
            except OSError:
                self._close()
                try:
                    self._connected().send(record)
                except OSError as error:
                    self._close()
                    raise OSError(f"failed to write to {self.socket_path}: {error}") from error

    def _connected(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            opened.settimeout(1)
            try:
                opened.connect(self.socket_path)
            except OSError:
                opened.close()
                raise
            self._socket = opened
        return self._socket

    def _close(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()
