"""Upstreams with their targets, as services call them: addresses, the choice among them, and what it goes by."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Sequence
from os import getpid
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

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
from kong_gevent.dns import Answer, NameNotResolved, Place, Resolver, numeric_address
from kong_gevent.dns.answers import NEVER
from kong_gevent.pdk import Context
from kong_gevent.proxy.pool import Origin
from kong_gevent.runtime.checks import Checks
from kong_gevent.runtime.hash_key import HashKey
from kong_gevent.runtime.health_table import HealthTable

if TYPE_CHECKING:
    from kong_gevent.runtime.call import Call
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.tls import Outgoing

log = logging.getLogger("kong_gevent.balancer")
Entity = dict[str, Any]
LATER = 0.5
"""Seconds after the end of what is known of a name at which it is renewed."""
VIRTUAL_LOOK = 60.0
"""Seconds between two looks whether records with a TTL of 0 have got a longer one."""
SETTLE = 0.25
"""Seconds for which those who need any target wait for all targets whose names are new."""
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
        self.kinds: dict[str, str] = {}
        """The type of the records behind a target, by its id."""
        self.look_at = NEVER
        """When (`monotonic`) what is known of the targets' names has to be renewed."""
        self._threshold: float = entity["healthchecks"]["threshold"]
        self._removed: list[Peer] = []
        self.name: str = entity["name"]
        self.targets: dict[str, Entity] = {}
        self.hash_key = HashKey(entity) if entity["algorithm"] == "consistent-hashing" else None
        """What leads a request to its peer, where anything in it does."""
        self._override: bytes = (entity["host_header"] or "").encode("latin-1")
        self._peers: dict[Any, Peer] = {}
        self._algorithm: Algorithm = RoundRobin([])
        self._found: dict[str, Any] = {}
        self._pending: dict[str, Event] = {}
        self._renewed = False
        self._changed = True

    def put(self, *entities: Entity) -> None:
        """Add or replace targets. One that was taken away and comes again is new: nothing is known of its health."""
        if self._removed and self.checks is not None:
            new = {place_of(entity) for entity in entities if entity["id"] not in self.targets}
            for peer in self._removed:
                if (peer.name, peer.target_port) in new:
                    self.checks.forget(peer)
        self.targets.update((entity["id"], entity) for entity in entities)
        self._renewed = self._changed = True

    def remove(self, *keys: str) -> None:
        """Take targets away."""
        gone = [target for key in keys if (target := self.targets.pop(key, None)) is not None]
        if gone:
            known = self.peers_by_target()
            self._removed += [peer for target in gone for peer in known.get(place_of(target), ())]
            self._renewed = self._changed = True

    def adopt(self, other: Balancer) -> None:
        """Take over the targets, and what is known of their addresses, from the balancer of an earlier state."""
        self.targets, self._peers, self._removed = other.targets, other._peers, other._removed
        self._algorithm, self.healthy = other._algorithm, other.healthy
        self._renewed = True

    def pick(self, resolver: Resolver, key: bytes, failed: Sequence[Peer]) -> Peer:
        """The peer for a request. Raises `NoPeers`."""
        if self._renewed:
            self._look(resolver)
        if self.checks is not None and self.checks.outdated:
            self._learn(self.checks)
        if not self.healthy:
            self._await(resolver)
        return self._algorithm.pick(key, failed)

    def refresh(self, resolver: Resolver) -> None:
        """Know the addresses and their health as they are now; nothing is waited for."""
        if self._renewed or monotonic() >= self.look_at:
            self._look(resolver)
        if self.checks is not None and self.checks.outdated:
            self._learn(self.checks)

    def settle(self, resolver: Resolver) -> None:
        """The same, but names that are looked up for the first time are waited for, a moment."""
        self.refresh(resolver)
        if self._pending:
            gevent.wait(list(self._pending.values()), SETTLE)
            self.refresh(resolver)

    def _await(self, resolver: Resolver) -> None:
        """Wait for names that are looked up for the first time. Raises `NoPeers` when nobody is there after that."""
        if self._pending:
            self.settle(resolver)
        while not self.healthy:
            if not self._pending:
                raise NoPeers("Balancer is unhealthy")
            gevent.wait(list(self._pending.values()), count=1)
            self.refresh(resolver)

    def _learn(self, checks: Checks) -> None:
        checks.learn()
        self._algorithm.reconsider()
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

    # --- names ---------------------------------------------------------------------------------------------------

    def _look(self, resolver: Resolver) -> None:
        """See where the targets' names lead; build the algorithm anew when something has changed."""
        self._renewed = False
        now = monotonic()
        found: dict[str, Answer | None] = {}
        failures: dict[str, str] = {}
        pending: dict[str, Event] = {}
        self.look_at = NEVER
        for key, target in self.targets.items():
            host = place_of(target)[0].strip("[]")
            try:
                found[key], loading = resolver.glance(host)
            except NameNotResolved as error:
                if key not in self.failures:
                    log.warning("upstream %s: target %s has no address: %s", self.name, target["target"], error)
                failures[key] = str(error)
                loading = None
            self._watch(host, found.get(key), loading, pending)
            again = now + VIRTUAL_LOOK if _is_virtual(found.get(key)) else resolver.expires(host) + LATER
            self.look_at = min(self.look_at, max(again, now + LATER))
        self.failures, self._pending = failures, pending
        self._take(found)

    def _watch(self, host: str, known: Answer | None, loading: Event | None, pending: dict[str, Event]) -> None:
        """Look again when a look-up is over, unless records are of one use only anyway."""
        if loading is None or _is_virtual(known):
            return
        if known is None:
            pending[host] = loading
        loading.rawlink(self._renew)

    def _renew(self, _: Event) -> None:
        self._renewed = True

    def _take(self, found: dict[str, Answer | None]) -> None:
        """These are the places of the targets from now on."""
        places = {key: _places_of(answer) for key, answer in found.items()}
        if places.keys() == self._found.keys() and not self._changed:
            if all(places[key] is self._found[key] for key in places):
                return
        self._found, self._changed = places, False
        self.kinds = {key: _kind_of(answer) for key, answer in found.items() if answer is not None}
        peers = [peer for key, each in places.items() for peer in self._peers_of(self.targets[key], each)]
        self._peers = {peer.key: peer for peer in peers}
        peers = list(self._peers.values())
        self._check(peers)
        self._algorithm = self._make(peers)

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

    def _peers_of(self, target: Entity, places: Sequence[Place] | None) -> list[Peer]:
        """The peers of a target; each keeps its health and its connections when it was known already."""
        host, port = place_of(target)
        made = []
        for place in (Place(0, host, port),) if places is None else places:
            peer = Peer(host, port, place.family, place.ip, place.port or port, target["weight"])
            if place.weight and target["weight"]:
                peer.weight = place.weight
            peer.host, peer.authority = self.hosts_for(host, place, peer.port)
            known = self._peers.get(peer.key)
            if known is not None:
                known.weight, known.host, known.authority = peer.weight, peer.host, peer.authority
            made.append(known or peer)
        return made

    def hosts_for(self, host: str, place: Place, port: int) -> tuple[bytes, bytes]:
        """The Host header: the target's name, or its server's according to SRV; without and with the port."""
        if self._override:
            return self._override, self._override
        if place.name and self.entity["use_srv_name"]:
            host = place.name
        literal = numeric_address(host)
        name = f"[{literal[1]}]" if literal is not None and ":" in literal[1] else host
        return name.encode("latin-1"), f"{name}:{port}".encode("latin-1")

    def _make(self, peers: list[Peer]) -> Algorithm:
        kind = self.entity["algorithm"]
        for peer in peers:
            peer.ranks = None
        if kind == "consistent-hashing":
            from xxhash import xxh3_128_digest, xxh32_intdigest  # loaded when an upstream needs it

            return ConsistentHashing(peers, xxh3_128_digest, xxh32_intdigest)
        if kind == "least-connections":
            return LeastConnections(peers)
        return Latency(peers) if kind == "latency" else RoundRobin(peers, seed=hash((self.name, getpid())))


def place_of(target: Entity) -> tuple[str, int]:
    """Host and port of a target."""
    host, _, port = target["target"].rpartition(":")
    return host, int(port)


def follow_names(balancers: Iterable[Balancer], resolver: Resolver) -> None:
    """Renew what is known of the names of targets, where it is time."""
    now = monotonic()
    for balancer in balancers:
        if now >= balancer.look_at:
            balancer.refresh(resolver)


def _is_virtual(answer: Answer | None) -> bool:
    return answer is not None and not answer.ttl


def _places_of(answer: Answer | None) -> Sequence[Place] | None:
    """The places behind a target; None when they are looked up for each try, none while nothing is known."""
    if answer is None:
        return ()
    return None if _is_virtual(answer) else answer.places


def _kind_of(answer: Answer) -> str:
    return "ttl=0, virtual SRV" if _is_virtual(answer) else answer.kind


class BalancedEndpoint:
    """What a service calls whose host is the name of an upstream; takes the place of `entries.Endpoint`."""

    __slots__ = ("_own_port", "balancer", "fixed", "host", "port", "tls")

    def __init__(self, balancer: Balancer, port: int, tls: Outgoing | None) -> None:
        self.balancer = balancer
        self.host = balancer.name
        self.port = port
        self.tls = tls
        self.fixed: Origin | None = None
        self._own_port = 80 if tls is None else 443

    def origin_for(self, gateway: Gateway, ctx: Context, call: Call, turn: int) -> Origin:
        """The origin of the next peer for a call, which gets the peer's name as its Host.

        Raises `NoPeers`, `IdentityUnusable`; `NameNotResolved` when the names of all peers that are looked up for each
        try lead nowhere.
        """
        context = self.tls.get() if self.tls is not None else None
        if call.peer is not None:
            self._leave(call)
        balancer = self.balancer
        if call.balance_key is None:
            call.balance_key = b"" if balancer.hash_key is None else balancer.hash_key.of(ctx)
        keeps_host = ctx.route.preserve_host or call.host_told
        peer = balancer.pick(gateway.resolver, call.balance_key, call.peers_failed)
        took(peer)
        call.peer = peer
        if not peer.family:
            return self._origin_by_name(gateway, ctx, call, keeps_host, context)
        if not keeps_host:
            call.change_host(self.host_for(peer))
        if context is not None:
            return gateway.pool.origin(peer.family, peer.ip, peer.port, context, call.server_name)
        origin = peer.origin
        if origin is None:
            origin = peer.origin = gateway.pool.origin(peer.family, peer.ip, peer.port)
        return origin  # type: ignore[return-value]

    def host_for(self, peer: Peer) -> bytes:
        """The Host header for a peer: with its port, unless that is the protocol's."""
        return peer.host if peer.port == self._own_port else peer.authority

    @staticmethod
    def _leave(call: Call) -> None:
        """A call's try with its peer has failed."""
        gave_back(call.peer, None, 0.0)  # type: ignore[arg-type]
        call.failed(call.peer)  # type: ignore[arg-type]
        call.peer = None

    def _origin_by_name(
        self, gateway: Gateway, ctx: Context, call: Call, keeps_host: bool, context: ssl.SSLContext | None
    ) -> Origin:
        """The origin of a peer whose address holds for one try only (records with a TTL of 0)."""
        peer: Peer = call.peer  # type: ignore[assignment]
        try:
            answer = gateway.resolver.look(peer.name)
        except NameNotResolved:
            self._leave(call)
            if len(set(call.peers_failed)) < len(call.peers_failed):
                raise  # all have been tried
            return self.origin_for(gateway, ctx, call, 0)
        peer.turn += 1
        place = answer.places[answer.turns[peer.turn % len(answer.turns)]]
        port = place.port or peer.port
        if not keeps_host:
            host, authority = self.balancer.hosts_for(peer.name, place, port)
            call.change_host(host if port == self._own_port else authority)
        if context is None:
            return gateway.pool.origin(place.family, place.ip, port)
        return gateway.pool.origin(place.family, place.ip, port, context, call.server_name)


def finish(call: Call, ctx: Context) -> None:
    """A call to a peer is over."""
    peer, call.peer = call.peer, None
    if peer is not None:
        answered = ctx.first_byte_at if peer.ranks is not None else 0  # nobody else wants to know how fast it was
        gave_back(peer, answered - ctx.proxied_at if answered else None, monotonic() if answered else 0)


__all__ = ["NO_PEER", "BalancedEndpoint", "Balancer", "NoPeers", "finish"]
