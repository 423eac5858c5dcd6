"""Routes and services as requests find them in the plan: their entities, with what calling them takes made ready."""

from __future__ import annotations

from collections.abc import Sequence
from random import randrange
from typing import TYPE_CHECKING, Any

from kong_gevent.dns import Place, Resolver, numeric_address
from kong_gevent.http.target import escape_path
from kong_gevent.proxy.pool import Origin, Pool
from kong_gevent.runtime.balancing import BalancedEndpoint, Balancer

if TYPE_CHECKING:
    from kong_gevent.pdk import Context
    from kong_gevent.runtime.call import Call
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.phases import Chain
    from kong_gevent.runtime.tls import Contexts, Outgoing

Entity = dict[str, Any]
_TURNS = 1 << 16
"""Turns among which the first is drawn: workers, and targets of one request, do not begin with the same address."""
DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}


class Endpoint:
    """A host and port to call, with its addresses in turn; `tls`: parameters, None for clear text."""

    __slots__ = ("_origins", "_places", "_turn", "fixed", "host", "port", "tls")

    def __init__(self, host: str, port: int, tls: Outgoing | None) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self._places: Sequence[Place] | None = None
        self._origins: list[Any] = []
        self._turn = randrange(_TURNS)
        self.fixed: Origin | None = None
        """The origin of a host that is a clear-text address: there is nothing to choose."""

    def next_turn(self) -> int:
        """The number of the next request that chooses an address here; its tries count on from it."""
        self._turn += 1
        return self._turn

    def origin_for(self, gateway: Gateway, ctx: Context, call: Call, turn: int) -> Origin:
        """The origin for a try of a call; SRV records say the port. Raises `NameNotResolved`, `IdentityUnusable`."""
        if call.turn is None:
            call.turn = self.next_turn()
        answer = gateway.resolver.look(self.host)
        places, turns = answer.places, answer.turns
        number = (turns[call.turn % len(turns)] + turn) % len(places)
        if places[number].port and not ctx.route.preserve_host and not call.host_told:
            call.change_host(self.host_for(places[number]))
        return self._origin(gateway.pool, places, number, call.server_name)

    def host_for(self, place: Place) -> bytes:
        """The Host header for an address; an SRV record says the port."""
        return host_header(self.host, place.port or self.port, "http" if self.tls is None else "https")

    def pick(self, resolver: Resolver, pool: Pool, turn: int, server_name: str | None) -> Origin:
        """The origin of the address whose turn it is. Raises `NameNotResolved`, `IdentityUnusable`."""
        answer = resolver.look(self.host)
        return self._origin(pool, answer.places, answer.turns[turn % len(answer.turns)], server_name)

    def _origin(self, pool: Pool, places: Sequence[Place], number: int, server_name: str | None) -> Origin:
        if self.tls is not None:
            place = places[number]
            return pool.origin(place.family, place.ip, place.port or self.port, self.tls.get(), server_name)
        if places is not self._places:
            self._origins = [pool.origin(place.family, place.ip, place.port or self.port) for place in places]
            self._places = places
            if numeric_address(self.host) is not None:
                self.fixed = self._origins[0]
        origin: Origin = self._origins[number]
        return origin


class ServiceEntry:
    """A service, ready for calling: timeouts in s, `host_header` in bytes."""

    __slots__ = (
        "_balancer",
        "_other_endpoints",
        "connect_timeout",
        "endpoint",
        "entity",
        "host",
        "host_header",
        "id",
        "path",
        "port",
        "protocol",
        "read_timeout",
        "retries",
        "write_timeout",
    )

    def __init__(self, entity: Entity, tls: Outgoing | None, balancer: Balancer | None = None) -> None:
        self.entity = entity
        self.id: str = entity["id"]
        self.protocol: str = entity["protocol"]
        self.host: str = entity["host"]
        self.port: int = entity["port"]
        self.path: str = escape_path(entity["path"] or "/")
        self.retries: int = entity["retries"] or 0
        self.connect_timeout = entity["connect_timeout"] / 1000
        self.write_timeout = entity["write_timeout"] / 1000
        self.read_timeout = entity["read_timeout"] / 1000
        self._balancer = balancer
        self.endpoint = self._endpoint(tls)
        self._other_endpoints: dict[str, Endpoint | BalancedEndpoint] = {}
        self.host_header = host_header(self.host, self.port, self.protocol)

    def _endpoint(self, tls: Outgoing | None) -> Endpoint | BalancedEndpoint:
        if self._balancer is None:
            return Endpoint(self.host, self.port, tls)
        return BalancedEndpoint(self._balancer, self.port, tls)

    def endpoint_by(self, protocol: str, contexts: Contexts) -> Endpoint | BalancedEndpoint:
        """What is called when a plugin wants this protocol."""
        found = self.endpoint if protocol == self.protocol else self._other_endpoints.get(protocol)
        if found is None:
            upstream = self._balancer.entity if self._balancer is not None else None
            found = self._endpoint(contexts.for_service(self.entity, upstream, protocol))
            self._other_endpoints[protocol] = found
        return found


def host_header(host: str, port: int, protocol: str) -> bytes:
    """The `Host` of requests to an upstream: the port is left out when it is the protocol's own."""
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    name = host.encode("idna") if not host.isascii() else host.encode()
    return name if DEFAULT_PORTS.get(protocol) == port else b"%b:%d" % (name, port)


class RouteEntry:
    """A route with its service, ready for requests."""

    __slots__ = (
        "chain",
        "chain_version",
        "described",
        "entity",
        "grpc",
        "https_only",
        "id",
        "preserve_host",
        "redirect_status",
        "request_buffering",
        "response_buffering",
        "service",
        "strip_path",
    )

    def __init__(self, entity: Entity, service: ServiceEntry | None) -> None:
        self.entity = entity
        self.id: str = entity["id"]
        self.service = service
        protocols = entity["protocols"]
        self.https_only = "https" in protocols and "http" not in protocols
        self.grpc = "grpc" in protocols or "grpcs" in protocols
        self.redirect_status: int = entity["https_redirect_status_code"]
        self.strip_path: bool = entity["strip_path"]
        self.preserve_host: bool = entity["preserve_host"]
        self.request_buffering: bool = entity["request_buffering"]
        self.response_buffering: bool = entity["response_buffering"]
        self.chain: Chain | None = None
        self.chain_version = -1
        self.described = b""  # its JSON in log records (see `pdk.record`), once it was asked for
