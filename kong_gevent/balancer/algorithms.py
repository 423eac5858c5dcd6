"""The algorithms of upstreams, as in Kong 3.9: who is next, among the peers that are there and have not failed yet.

An algorithm is made anew when the peers or their weights change. `pick(key, failed)` gives a peer or raises `NoPeers`;
`failed` are peers that this request has tried already. A peer is in use from `took` to `gave_back`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import reduce
from math import exp, gcd
from random import Random
from time import monotonic
from typing import Any, Protocol

MIN_POINTS = 1000
POINTS_PER_TARGET = 160
DECAY = 10.0
"""Seconds in which an old latency loses its weight, but for 1/e of it."""
MAX_WHEEL = 1 << 20
"""Places of a wheel; weights without a common divisor would make it larger, and are rounded then."""


class NoPeers(Exception):
    """Nobody can take the request."""


class Peer:
    """An address behind an upstream: of the target `name`:`target_port`, with its share of the load.

    `host`: the Host header for it; `available`: whether it gets traffic; `origin`: where its connections are kept;
    `watch`: what its tries are told to, if they are to be told (see `runtime.checks.Watch`).
    """

    __slots__ = (
        "available",
        "connections",
        "ewma",
        "family",
        "host",
        "ip",
        "name",
        "origin",
        "port",
        "seen",
        "target_port",
        "watch",
        "weight",
    )

    def __init__(
        self, name: str, target_port: int, family: int, ip: str, port: int, weight: int, host: bytes = b""
    ) -> None:
        self.name = name
        self.target_port = target_port
        self.family = family
        self.ip = ip
        self.port = port
        self.weight = weight
        self.host = host
        self.available = True
        self.origin: object | None = None
        self.watch: Any = None
        self.connections = 0
        self.ewma: float | None = None
        self.seen = 0.0

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What makes it the same peer after the upstream's targets have changed."""
        return self.name, self.target_port, self.ip, self.port

    def __repr__(self) -> str:
        return f"<Peer {self.name} {self.ip}:{self.port} weight={self.weight}>"


class Algorithm(Protocol):
    """How a peer is chosen."""

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The peer for a request. Raises `NoPeers`."""
        ...


class RoundRobin:
    """A wheel with each peer as often as its share of the weights says, in an order that mixes them."""

    def __init__(self, peers: Sequence[Peer], seed: int = 0) -> None:
        weights = [peer.weight for peer in peers]
        divisor = reduce(gcd, weights, 0) or 1
        divisor = max(divisor, -(-sum(weights) // MAX_WHEEL))
        self._wheel = [peer for peer in peers for _ in range(max(1, peer.weight // divisor) if peer.weight else 0)]
        Random(seed).shuffle(self._wheel)
        self._at = 0

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The next one on the wheel; those that have failed come again when all have."""
        wheel = self._wheel
        size = len(wheel)
        at = self._at
        second: Peer | None = None
        for step in range(size):
            peer = wheel[(at + step) % size]
            if not peer.available:
                continue
            if peer not in failed:
                self._at = (at + step + 1) % size
                return peer
            second = second or peer
        if second is None:
            raise NoPeers("No peers are available")
        self._at = (at + 1) % size
        return second


class LeastConnections:
    """The peer with the fewest requests under way, measured by its weight."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = [peer for peer in peers if peer.weight]
        self._turn = 0

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The least busy one; of equals, one after the other."""
        return _best(self, self._peers, failed, lambda peer: (peer.connections + 1) / peer.weight)

    def next_turn(self) -> int:
        """Where the search begins, so that equals take turns."""
        self._turn += 1
        return self._turn


class Latency:
    """The peer with the lowest latency of late (peak EWMA), measured by its weight."""

    def __init__(self, peers: Sequence[Peer], clock: Callable[[], float] = monotonic) -> None:
        self._peers = [peer for peer in peers if peer.weight]
        self._clock = clock
        self._turn = 0

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The best one; new ones count as the average of the others."""
        now = self._clock()
        scores = {id(peer): self._score(peer, now) for peer in self._peers}
        known = [score for score in scores.values() if score is not None]
        average = sum(known) / len(known) if known else 0.0

        def score(peer: Peer) -> float:
            found = scores[id(peer)]
            return (average if found is None else found) / peer.weight

        return _best(self, self._peers, failed, score)

    def next_turn(self) -> int:
        """Where the search begins, so that equals take turns."""
        self._turn += 1
        return self._turn

    @staticmethod
    def _score(peer: Peer, now: float) -> float | None:
        return None if peer.ewma is None else peer.ewma * exp((peer.seen - now) / DECAY)


class _Turning(Protocol):
    def next_turn(self) -> int: ...


def _best(algorithm: _Turning, peers: Sequence[Peer], failed: Collection[Peer], score: Callable[[Peer], float]) -> Peer:
    """The available peer with the lowest score that has not failed; if all have failed, the best of them."""
    candidates = [peer for peer in peers if peer.available]
    fresh = [peer for peer in candidates if peer not in failed] or candidates
    if not fresh:
        raise NoPeers("No peers are available")
    start = algorithm.next_turn() % len(fresh)
    return min(fresh[start:] + fresh[:start], key=score)


class ConsistentHashing:
    """A ring of points: a key leads to the peer at its point, or the next one below it.

    When a peer goes, only the keys that led to it move. `digest`: xxHash32 of some bytes.
    """

    def __init__(self, peers: Sequence[Peer], slots: int, digest: Callable[[bytes], int]) -> None:
        self._digest = digest
        self._points: list[Peer | None] = [None] * max(slots, MIN_POINTS)
        ordered = sorted(
            (peer for peer in peers if peer.weight),
            key=lambda peer: (peer.name, peer.target_port, f"{peer.ip}:{peer.port}"),
        )
        total = sum(peer.weight for peer in ordered)
        targets = len({(peer.name, peer.target_port) for peer in ordered})
        for peer in ordered:
            self._place(peer, max(1, peer.weight * targets * POINTS_PER_TARGET // total))

    def _place(self, peer: Peer, entries: int) -> None:
        points = self._points
        size = len(points)
        number = placed = 0
        while placed < entries and number < entries + size:
            number += 1
            point = self._digest(f"{peer.ip}::{peer.port} {number}".encode()) % size
            if points[point] is None:
                points[point] = peer
                placed += 1

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The peer that the key leads to; if it has failed, the next one."""
        points = self._points
        start = self._digest(key) % len(points)
        second: Peer | None = None
        for step in range(len(points)):
            peer = points[start - step]
            if peer is None or not peer.available:
                continue
            if peer not in failed:
                return peer
            second = second or peer
        if second is None:
            raise NoPeers("No peers are available")
        return second


def took(peer: Peer) -> None:
    """A request goes to the peer."""
    peer.connections += 1


def gave_back(peer: Peer, seconds: float | None, now: float) -> None:
    """A request is over; `seconds` until its answer began, None when there was none."""
    peer.connections -= 1
    if seconds is None:
        return
    if peer.ewma is None:
        peer.ewma = seconds
    else:
        share = exp((peer.seen - now) / DECAY)
        peer.ewma = max(seconds, peer.ewma * share + seconds * (1 - share))
    peer.seen = now
