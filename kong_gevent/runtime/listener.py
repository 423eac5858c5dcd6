"""One address that the gateway listens on, as its connections see it (the sockets: `runtime.listen`)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kong_gevent.runtime.connection import Connection
    from kong_gevent.runtime.gateway import Gateway


class Listener:
    """What the connections of one listening address have in common; `serve` handles one request of a connection."""

    __slots__ = ("__weakref__", "announced", "context", "gateway", "port", "role", "serve", "server_ip", "tls")

    def __init__(
        self,
        gateway: Gateway,
        role: str,
        server_ip: str,
        port: int,
        serve: Callable[[Connection, Any, float], None],
        context: ssl.SSLContext | None = None,
        announced: bool = False,
    ) -> None:
        self.gateway = gateway
        self.role = role
        self.server_ip = server_ip
        self.port = gateway.port_map.get(port, port)
        self.serve = serve
        self.context = context
        self.tls = context is not None
        self.announced = announced
