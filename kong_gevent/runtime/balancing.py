"""Upstreams with their targets, as services call them: addresses, the choice among them, and what it goes by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from kong_gevent.balancer.algorithms import (
    Algorithm,
    ConsistentHashing,
    Latency,
    LeastConnections,
    NoPeers,
    Peer,
    RoundRobin,
    gave_back,
    took,
)
from kong_gevent.balancer.health import share_is_enough
from kong_gevent.pdk import Context
from kong_gevent.proxy.pool import Origin
from kong_gevent.proxy.resolver import NameNotResolved, Resolver, numeric_address
from kong_gevent.runtime.checks import Checks
from kong_gevent.runtime.health_table import HealthTable

if TYPE_CHECKING:
    from kong_gevent.runtime.call import Call
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.tls import Outgoing

log = logging.getLogger("kong_gevent.balancer")
Entity = dict[str, Any]
LOOK = 1.0
"""Seconds between two looks whether names of targets lead elsewhere now."""
NO_PEER = "failure to get a peer from the ring-balancer"


class Balancer:
    """One upstream: its targets' addresses, made anew when targets change or their names lead elsewhere."""

    def __init__(self, entity: Entity, table: HealthTable) -> None:
        self.entity = entity
        self.checks = Checks.of(entity, table)
        self.healthy = False
        """Whether enough of the weight is available."""
        self.failures: dict[str, str] = {}
        """Why a target's name leads nowhere, by the target's id."""
        self._threshold: float = entity["healthchecks"]["threshold"]
        self._removed: list[Peer] = []
        self.name: str = entity["name"]
        self.targets: dict[str, Entity] = {}
        self.hashes = entity["algorithm"] == "consistent-hashing"
        self._override: bytes = (entity["host_header"] or "").encode("latin-1")
        self._peers: dict[Any, Peer] = {}
        self._algorithm: Algorithm = RoundRobin([])
        self._found: dict[str, Any] = {}
        self._changed = True
        self._look_at = 0.0

    def put(self, entity: Entity) -> None:
        """Add or replace a target. One that was taken away and comes again is new: nothing is known of its health."""
        if entity["id"] not in self.targets and self.checks is not None:
            for peer in self._removed:
                if (peer.name, peer.target_port) == place_of(entity):
                    self.checks.forget(peer)
        self.targets[entity["id"]] = entity
        self._look_at = 0.0
        self._changed = True

    def remove(self, key: str) -> None:
        """Take a target away."""
        target = self.targets.pop(key, None)
        if target is not None:
            self._removed += self.peers_of(target)
            self._look_at = 0.0
            self._changed = True

    def adopt(self, other: Balancer) -> None:
        """Take over the targets, and what is known of their addresses, from the balancer of an earlier state."""
        self.targets, self._peers, self._removed = other.targets, other._peers, other._removed
        self._algorithm, self.healthy = other._algorithm, other.healthy

    def pick(self, resolver: Resolver, key: bytes, failed: Sequence[Peer]) -> Peer:
        """The peer for a request. Raises `NoPeers`."""
        self.refresh(resolver)
        if not self.healthy:
            raise NoPeers("Balancer is unhealthy")
        return self._algorithm.pick(key, failed)

    def refresh(self, resolver: Resolver) -> None:
        """Know the addresses and their health as they are now."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._look(resolver)
        if self.checks is not None and self.checks.outdated:
            self._learn(self.checks)

    def _learn(self, checks: Checks) -> None:
        checks.learn()
        self._judge()

    def _judge(self) -> None:
        """Whether enough weight is available."""
        peers = self._peers.values()
        total = sum(peer.weight for peer in peers)
        available = sum(peer.weight for peer in peers if peer.available)
        self.healthy = share_is_enough(available, total, self._threshold)

    def peers_by_target(self) -> dict[tuple[str, int], list[Peer]]:
        """All peers by the host and port of their target."""
        found: dict[tuple[str, int], list[Peer]] = {}
        for peer in self._peers.values():
            found.setdefault((peer.name, peer.target_port), []).append(peer)
        return found

    def peers_of(self, target: Entity) -> list[Peer]:
        """The peers of a target, as far as its name has been resolved."""
        return self.peers_by_target().get(place_of(target), [])

    def _look(self, resolver: Resolver) -> None:
        """Resolve the targets' names; build the algorithm anew when something has changed."""
        found: dict[str, Any] = {}
        failures = {}
        for key, target in list(self.targets.items()):
            host = target["target"].rpartition(":")[0]
            try:
                found[key] = resolver.resolve(host.strip("[]"))
            except NameNotResolved as error:
                if self._found.get(key) != ():
                    log.warning("upstream %s: target %s has no address: %s", self.name, target["target"], error)
                found[key] = ()
                failures[key] = str(error)
        self.failures = failures
        found = {key: addresses for key, addresses in found.items() if key in self.targets}
        same = self._found.keys() == found.keys() and all(self._found[key] is found[key] for key in found)
        if same and not self._changed:
            return
        self._found, self._changed = found, False
        peers = [peer for key, addresses in found.items() for peer in self._peers_of(self.targets[key], addresses)]
        self._peers = {peer.key: peer for peer in peers}
        self._algorithm = self._make(peers)
        self._check(peers)

    def _check(self, peers: list[Peer]) -> None:
        """Check these peers from now on, and forget those whose targets were taken away."""
        removed, self._removed = self._removed, []
        if self.checks is not None:
            for peer in removed:
                if peer.key not in self._peers:
                    self.checks.forget(peer)
            self.checks.take(peers)
            self.checks.learn()
        else:
            for peer in peers:
                peer.watch, peer.available = None, True
        self._judge()

    def _peers_of(self, target: Entity, addresses: Any) -> list[Peer]:
        host, port = place_of(target)
        made = []
        for family, ip in addresses:
            peer = Peer(host, port, family, ip, port, target["weight"], self._host_for(host, port))
            known = self._peers.get(peer.key)
            if known is not None:
                known.weight, known.host = peer.weight, peer.host
            made.append(known or peer)
        return made

    def _host_for(self, host: str, port: int) -> bytes:
        """The Host header: the upstream's own, else the target with its port unless that is the protocol's."""
        if self._override:
            return self._override
        literal = numeric_address(host)
        name = f"[{literal[1]}]" if literal is not None and ":" in literal[1] else host
        return name.encode("latin-1") if port in (80, 443) else f"{name}:{port}".encode("latin-1")

    def _make(self, peers: list[Peer]) -> Algorithm:
        kind = self.entity["algorithm"]
        if kind == "consistent-hashing":
            from xxhash import xxh32_intdigest  # loaded when an upstream needs it

            return ConsistentHashing(peers, self.entity["slots"], xxh32_intdigest)
        if kind == "least-connections":
            return LeastConnections(peers)
        return Latency(peers) if kind == "latency" else RoundRobin(peers, seed=hash(self.name))

    # --- what is hashed ----------------------------------------------------------------------------------------------

    def key_of(self, ctx: Context) -> bytes:
        """What leads a request to its peer; empty when it has nothing of the kind."""
        entity = self.entity
        text = self._input(ctx, entity["hash_on"], entity["hash_on_header"], entity["hash_on_query_arg"],
                           entity["hash_on_uri_capture"])  # fmt: skip
        if text is None:
            text = self._input(ctx, entity["hash_fallback"], entity["hash_fallback_header"],
                               entity["hash_fallback_query_arg"], entity["hash_fallback_uri_capture"])  # fmt: skip
        return (text or "").encode("utf-8", "surrogateescape")

    def _input(
        self, ctx: Context, kind: str, header: str | None, argument: str | None, capture: str | None
    ) -> str | None:
        request = ctx.request
        if kind == "consumer":
            credential = ctx.credential
            return ctx.consumer_id or (credential.get("id") if credential else None)
        if kind == "ip":
            return ctx.client_ip
        if kind == "header":
            values = request.header_values(header or "")
            return ", ".join(values) if values else None
        if kind == "path":
            return unquote(ctx.path)
        if kind == "query_arg":
            return _argument(request.query_arg(argument or ""))
        if kind == "uri_capture":
            return _capture(request.captures, capture or "")
        return self._cookie(ctx) if kind == "cookie" else None

    def _cookie(self, ctx: Context) -> str:
        """The value of the cookie, which is set when the client has none."""
        name = self.entity["hash_on_cookie"]
        for header in ctx.request.header_values("cookie"):
            for pair in header.split(";"):
                key, equals, value = pair.strip().partition("=")
                if equals and key == name and value:
                    return value
        value = str(uuid4())
        path = self.entity["hash_on_cookie_path"]
        ctx.response.add_header("Set-Cookie", f"{name}={value}; Path={path}; SameSite=Lax; HttpOnly")
        return value


def place_of(target: Entity) -> tuple[str, int]:
    """Host and port of a target."""
    host, _, port = target["target"].rpartition(":")
    return host, int(port)


def _argument(value: Any) -> str | None:
    if value is True:
        return "true"
    if isinstance(value, list):
        return ",".join(sorted("true" if item is True else str(item) for item in value))
    return None if value is None else str(value)


def _capture(captures: dict[str, Any], name: str) -> str | None:
    if name.isdigit():
        unnamed = captures["unnamed"]
        return unnamed[int(name) - 1] if 0 < int(name) <= len(unnamed) else None
    found: str | None = captures["named"].get(name)
    return found


class BalancedEndpoint:
    """What a service calls whose host is the name of an upstream; takes the place of `plan.Endpoint`."""

    __slots__ = ("balancer", "fixed", "host", "port", "tls")

    def __init__(self, balancer: Balancer, port: int, tls: Outgoing | None) -> None:
        self.balancer = balancer
        self.host = balancer.name
        self.port = port
        self.tls = tls
        self.fixed: Origin | None = None

    def origin_for(self, gateway: Gateway, ctx: Context, call: Call, turn: int) -> Origin:
        """The origin of the next peer for a call, which gets the peer's name as its Host.

        Raises `NoPeers`, `IdentityUnusable`.
        """
        balancer = self.balancer
        context = self.tls.get() if self.tls is not None else None
        if call.peer is not None:
            gave_back(call.peer, None, 0.0)
            call.failed(call.peer)
            call.peer = None
        if call.balance_key is None:
            call.balance_key = balancer.key_of(ctx) if balancer.hashes else b""
        peer = balancer.pick(gateway.resolver, call.balance_key, call.peers_failed)
        took(peer)
        call.peer = peer
        if not ctx.route.preserve_host and not call.host_told:
            call.change_host(peer.host)
        if context is not None:
            return gateway.pool.origin(peer.family, peer.ip, peer.port, context, call.server_name)
        origin = peer.origin
        if origin is None:
            origin = peer.origin = gateway.pool.origin(peer.family, peer.ip, peer.port)
        return origin  # type: ignore[return-value]


def finish(call: Call, ctx: Context) -> None:
    """A call to a peer is over."""
    peer, call.peer = call.peer, None
    if peer is not None:
        answered = ctx.first_byte_at
        gave_back(peer, answered - ctx.proxied_at if answered else None, monotonic())


__all__ = ["NO_PEER", "BalancedEndpoint", "Balancer", "NoPeers", "finish"]
