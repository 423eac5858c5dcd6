"""syslog: the record of each request, told to the machine's system log."""

from __future__ import annotations

import errno
import socket
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, EntriesLost, custom_fields, fields
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
IDENT = "kong"
PATIENCE = 1.0
"""Seconds for which a daemon that reads too slowly is waited for."""


class SyslogConfig(Config):
    """Settings of syslog."""

    log_level, successful_severity, client_errors_severity, server_errors_severity = severity_fields(True).values()
    custom_fields_by_lua = custom_fields.field()
    facility = fields.Choice(
        *FACILITIES, required=True, load_default="user", metadata={"description": "What kind of program is logging."}
    )
    socket_path = fields.String(
        load_default="/dev/log", metadata={"description": "The daemon's socket, for machines where it is elsewhere."}
    )


class Daemon:
    """A connection to the system log's socket, opened when there is something to tell."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: socket.socket | None = None

    def tell(self, line: bytes) -> None:
        """Send a line; once more over a new connection, since the daemon may have been restarted. Raises OSError."""
        try:
            self._connected().send(line)
        except ConnectionError:
            self.close()
            self._connected().send(line)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            opened.settimeout(PATIENCE)
            try:
                opened.connect(self.path)
            except OSError:
                opened.close()
                raise
            self._socket = opened
        return self._socket

    def close(self) -> None:
        """Close the connection; the next line opens another."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()


class Syslog(LogPlugin):
    """Writes to the local socket, with a severity that follows the answer's status."""

    name = "syslog"
    priority = 4
    config = SyslogConfig

    def configure(self, conf: Conf) -> None:
        """Prepare severities, the facility's number and the connection."""
        conf.severities = Severities(conf)
        conf.base = FACILITIES[conf.facility] << 3
        conf.daemon = Daemon(conf.socket_path or "/dev/log")
        super().configure(conf)

    def release(self, conf: Conf) -> None:
        """Close the connection."""
        conf.daemon.close()

    def log(self, ctx: Context, conf: Conf) -> None:
        """Queue the record unless it is of no interest."""
        severity = conf.severities.of(ctx.status)
        if severity is not None:
            head = f"<{conf.base | severity}>{IDENT}[{self.kit.worker_pid}]: ".encode()
            conf.queue_now.put(head + self.entry(ctx, conf))

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Send a batch, one datagram each: without one that is too large, and as long as the daemon takes them."""
        lost, failed = 0, ""
        for at, record in enumerate(records):
            try:
                conf.daemon.tell(record)
            except OSError as error:
                failed = failed or str(error)
                if error.errno != errno.EMSGSIZE:
                    lost += len(records) - at
                    break
                lost += 1
        if lost:
            raise EntriesLost(lost, f"failed to write to {conf.daemon.path}: {failed}")
