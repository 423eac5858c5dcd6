"""loggly: the record of each request as a syslog datagram with a customer's token."""

from __future__ import annotations

import time
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, custom_fields, fields
from kong_gevent.pdk.datagrams import Datagrams
from kong_gevent.pdk.logging import LogPlugin, Severities, severity_fields

ENTERPRISE = 41058
"""Loggly's number among the private enterprises; the token's structured data carries it (RFC 5424, section 7.2.2)."""
USER_FACILITY = 1 << 3


def _escaped(value: str) -> str:
    """A value within structured data (RFC 5424, section 6.3.3)."""
    return "".join(f"\\{character}" if character in '\\"]' else character for character in value)


class LogglyConfig(Config):
    """Settings of loggly."""

    host = fields.Host(load_default="logs-01.loggly.com", metadata={"description": "Name or address of the server."})
    port = fields.Port(load_default=514, metadata={"description": "Its UDP port."})
    key = fields.String(
        required=True, referenceable=True, encrypted=True, metadata={"description": "The customer's token."}
    )
    tags = fields.Set(
        fields.String(), load_default=["kong"], metadata={"description": "Tags by which records can be found."}
    )
    log_level, successful_severity, client_errors_severity, server_errors_severity = severity_fields(False).values()
    timeout = fields.Number(
        load_default=10000, metadata={"description": "Milliseconds that sending a datagram may take."}
    )
    custom_fields_by_lua = custom_fields.field()


class Loggly(LogPlugin):
    """Sends one datagram per record."""

    name = "loggly"
    priority = 6
    config = LogglyConfig

    def configure(self, conf: Conf) -> None:
        """Prepare severities and what stands around each record."""
        conf.severities = Severities(conf)
        tags = "".join(f' tag="{_escaped(tag)}"' for tag in conf.tags or ())
        conf.middle = f"Z {self.kit.hostname} kong - - [{conf.key}@{ENTERPRISE}{tags}] ".encode()
        conf.datagrams = Datagrams(conf.host or "logs-01.loggly.com", conf.port or 514, conf.timeout)
        super().configure(conf)

    def release(self, conf: Conf) -> None:
        """Close the socket."""
        conf.datagrams.close()

    def log(self, ctx: Context, conf: Conf) -> None:
        """Queue the record unless it is of no interest."""
        severity = conf.severities.of(ctx.status)
        if severity is not None:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()).encode()
            head = b"<%d>1 %b%b" % (USER_FACILITY | severity, now, conf.middle)
            conf.queue_now.put(head + self.entry(ctx, conf))

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Send a batch, one datagram each."""
        conf.datagrams.send(records)
