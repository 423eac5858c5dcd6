"""udp-log: the record of each request as a datagram."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Conf, Config, custom_fields, fields
from kong_gevent.pdk.datagrams import Datagrams
from kong_gevent.pdk.logging import LogPlugin


class UdpLogConfig(Config):
    """Settings of udp-log."""

    host = fields.Host(required=True, metadata={"description": "Name or address of the server."})
    port = fields.Port(required=True, metadata={"description": "The port of the server."})
    timeout = fields.Number(
        load_default=10000, metadata={"description": "Milliseconds that sending a datagram may take."}
    )
    custom_fields_by_lua = custom_fields.field()


class UdpLog(LogPlugin):
    """Sends one datagram per record, without a line end."""

    name = "udp-log"
    priority = 8
    config = UdpLogConfig

    def configure(self, conf: Conf) -> None:
        """Prepare the socket; the name is looked up by the first record."""
        conf.datagrams = Datagrams(conf.host, conf.port, conf.timeout)
        super().configure(conf)

    def release(self, conf: Conf) -> None:
        """Close the socket."""
        conf.datagrams.close()

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Send a batch, one datagram each."""
        conf.datagrams.send(records)
