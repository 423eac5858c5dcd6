"""The algorithms of upstreams, as in Kong 3.9: who is next, among the peers that are there and have not failed yet.

An algorithm is made anew when the peers or their weights change. `pick(key, failed)` gives a peer or raises `NoPeers`;
`failed` are peers that this request has tried already. A peer is in use from `took` to `gave_back`.

Strategy: the cost of a choice grows with the logarithm of the number of peers at most. Those that are in an order
(who is least busy, who is fastest, whose turn it is where weights are odd) are kept in heaps; a ring of points is
searched by halves.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import cycle, islice
from math import exp, gcd, log
from random import Random
from struct import unpack
from time import monotonic
from typing import Any, Protocol

POINTS = 512
"""Points on the ring of the heaviest peer, if its weight is a power of two, else down to half as many.

With 160 as in Kong, shares differ from the weights by 8 per cent and more; with these by 4."""
PER_DIGEST = 4
NUMBER_BITS = 24
_NUMBER = (1 << NUMBER_BITS) - 1
DECAY = 10.0
"""Seconds in which an old latency loses its weight, but for 1/e of it."""
LAP = 1 << 60
"""How far the wheel turns until each peer has been used as often as its weight says."""
PREPARED = 2048
"""Requests of the longest turn that is prepared."""


class NoPeers(Exception):
    """Nobody can take the request."""


class Peer:
    """An address behind an upstream: of the target `name`:`target_port`, with its share of the load.

    `host`, `authority`: the Host header for it where its port is that of the protocol, and elsewhere; `available`:
    whether it gets traffic; `origin`: where its connections are kept; `watch`: what its tries are told to, if they are
    to be told (see `runtime.checks.Watch`); `ranks`: who is to know when it is in use or not any more, with the
    `ticket` of its latest rank. A peer without a `family` has a name instead of an address, which is looked up for
    each try, `turn` counting these.
    """

    __slots__ = (
        "authority",
        "available",
        "connections",
        "ewma",
        "family",
        "host",
        "ip",
        "name",
        "origin",
        "port",
        "ranks",
        "seen",
        "target_port",
        "ticket",
        "turn",
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
        self.host = self.authority = host
        self.available = True
        self.ranks: _Ranked | None = None
        self.ticket = 0
        self.turn = 0
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

    def reconsider(self) -> None:
        """To be called when peers have become available, or have gone."""


class RoundRobin:
    """Each peer as often as its share of the weights says, as evenly mixed as can be; exact over each whole turn.

    A peer's turns lie at equal distances on an endless line: whoever comes first is next. `seed` says where on it each
    peer begins, so that workers do not begin with the same peer. A whole turn that is not too long is prepared.
    """

    def __init__(self, peers: Sequence[Peer], seed: int = 0) -> None:
        self._peers = [peer for peer in peers if peer.weight]
        self._start = Random(seed).random
        self.reconsider()

    def reconsider(self) -> None:
        """Begin a new turn with those that are there now."""
        there = [peer for peer in self._peers if peer.available]
        unit = gcd(*[peer.weight for peer in there])
        length = sum(peer.weight // unit for peer in there) if there else 0
        line = self._line(there, unit)
        self._next = (cycle(list(islice(line, length))) if length <= PREPARED else line).__next__

    def _line(self, peers: Sequence[Peer], unit: int) -> Iterator[Peer]:
        strides = [(LAP // (peer.weight // unit), number, peer) for number, peer in enumerate(peers)]
        heap = [(int(self._start() * stride), number, stride, peer) for stride, number, peer in strides]
        heapify(heap)
        while heap:
            at, number, stride, peer = heap[0]
            heapreplace(heap, (at + stride, number, stride, peer))
            yield peer

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The next one; those that have failed come again when all have. Who is away misses its turns."""
        try:
            peer = self._next()
        except StopIteration:
            return self._anew(failed)
        if not peer.available:
            return self._anew(failed)
        return self._other(peer, failed) if failed and peer in failed else peer

    def _anew(self, failed: Collection[Peer]) -> Peer:
        """Somebody has gone, or nobody was there: as `pick`, when that has been looked at."""
        if not any(peer.available for peer in self._peers):
            raise NoPeers("No peers are available")
        self.reconsider()
        return self.pick(b"", failed)

    def _other(self, peer: Peer, failed: Collection[Peer]) -> Peer:
        """The next that has not failed; `peer` when all have."""
        for _ in range(2 * len(self._peers)):
            other = self._next()
            if other.available and other not in failed:
                return other
        # Those that have failed have nearly all the turns.
        return next((other for other in self._peers if other.available and other not in failed), peer)


class _Ranked:
    """Peers in the order of a score, the lowest first and equals in turn; told when a score may have changed.

    An entry of the heap counts if it has its peer's latest ticket. Those that are away are not in it.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = [peer for peer in peers if peer.weight]
        self._serial = 0
        self._heap: list[tuple[float, int, Peer]] = []
        for peer in self._peers:
            peer.ranks = self
        self.reconsider()

    def reconsider(self) -> None:
        """Rank all that are there anew."""
        self._heap.clear()
        for peer in self._peers:
            if peer.available:
                self.changed(peer)

    def score(self, peer: Peer) -> float:
        """What the order goes by."""
        raise NotImplementedError

    def changed(self, peer: Peer) -> None:
        """Rank a peer anew."""
        self._serial = peer.ticket = self._serial + 1
        heap = self._heap
        if len(heap) > 4 * len(self._peers) + 16:
            heap[:] = [entry for entry in heap if entry[1] == entry[2].ticket]
            heapify(heap)
        heappush(heap, (self.score(peer), self._serial, peer))

    def best(self, failed: Collection[Peer]) -> Peer | None:
        """The first that is available and has not failed."""
        heap = self._heap
        aside = []
        found = None
        while heap:
            entry = heap[0]
            peer = entry[2]
            if entry[1] != peer.ticket or not peer.available:
                heappop(heap)
            elif peer not in failed:
                found = peer
                break
            else:
                aside.append(heappop(heap))
        for entry in aside:
            heappush(heap, entry)
        return found


class LeastConnections(_Ranked):
    """The peer with the fewest requests under way, measured by its weight."""

    def score(self, peer: Peer) -> float:
        """How busy it would be."""
        return (peer.connections + 1) / peer.weight

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The least busy one; of equals, one after the other; the best of those that have failed when all have."""
        peer = self.best(failed) or self.best(())
        if peer is None:
            raise NoPeers("No peers are available")
        return peer


class Latency(_Ranked):
    """The peer with the lowest latency of late (peak EWMA), measured by its weight.

    All latencies decay alike, so that their order only changes with a new one: scores are logarithms of what a latency
    would have been at the time 0.
    """

    def __init__(self, peers: Sequence[Peer], clock: Callable[[], float] = monotonic) -> None:
        self._new = [peer for peer in peers if peer.weight and peer.ewma is None]
        self._clock = clock
        super().__init__(peers)

    def score(self, peer: Peer) -> float:
        """The logarithm of its latency by weight; none for a new one, which is not in this order."""
        if peer.ewma is None:
            return float("inf")
        return log(max(peer.ewma, 1e-9)) + peer.seen / DECAY - log(peer.weight)

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The best one. A single one is used though it has failed."""
        if self._new:
            self._introduce()
        peers = self._peers
        peer = peers[0] if len(peers) == 1 and peers[0].available else self.best(failed)
        if peer is None:
            raise NoPeers("No peers are available")
        return peer

    def _introduce(self) -> None:
        """Let new peers count as the average of the others is now, once there are others: they are ranked from here."""
        self._new = [peer for peer in self._new if peer.ewma is None]
        now = self._clock()
        known = [peer.ewma * exp((peer.seen - now) / DECAY) for peer in self._peers if peer.ewma is not None]
        if known:
            for peer in self._new:
                peer.ewma, peer.seen = sum(known) / len(known), now
                self.changed(peer)
            self._new = []


class ConsistentHashing:
    """A ring of points: a key leads to the peer at its point, or at the next one below it.

    A peer's points depend on itself and on its weight only, so that nobody else's keys move when one comes or goes.
    The unit of weights is the power of two from the heaviest one on, divided by POINTS. `digest`: xxHash of some bytes
    with 128 bits, of a key with 32.
    """

    def __init__(self, peers: Sequence[Peer], digest: Callable[[bytes], bytes], place: Callable[[bytes], int]) -> None:
        self._place = place
        self._peers = sorted(
            (peer for peer in peers if peer.weight),
            key=lambda peer: (peer.name, peer.target_port, peer.ip, peer.port),
        )
        heaviest = max((peer.weight for peer in self._peers), default=1)
        unit = 1 << (heaviest - 1).bit_length()
        points = []
        for number, peer in enumerate(self._peers):
            count = max(1, round(peer.weight * POINTS / unit))
            seed = f"{peer.ip}::{peer.port} ".encode()
            digests = b"".join([digest(b"%b%d" % (seed, turn)) for turn in range(-(-count // PER_DIGEST))])
            hashes = unpack(f"<{len(digests) // 4}I", digests)
            points += [point << NUMBER_BITS | number for point in hashes[:count]]
        points.sort()
        self._points = array("Q", points)

    def pick(self, key: bytes, failed: Collection[Peer]) -> Peer:
        """The peer that the key leads to; the next one if it is away or has failed; the first if all have failed."""
        points, peers = self._points, self._peers
        there = [peer for peer in peers if peer.available and peer not in failed] if failed else peers
        if failed and not there:
            failed = ()
        start = bisect_right(points, self._place(key) << NUMBER_BITS | _NUMBER) - 1
        for step in range(len(points)):
            peer: Peer = peers[points[start - step] & _NUMBER]
            if peer.available and (not failed or peer not in failed):
                return peer
        raise NoPeers("No peers are available")

    def reconsider(self) -> None:
        """The ring stays as it is."""


def took(peer: Peer) -> None:
    """A request goes to the peer."""
    peer.connections += 1
    if peer.ranks is not None:
        peer.ranks.changed(peer)


def gave_back(peer: Peer, seconds: float | None, now: float) -> None:
    """A request is over; `seconds` until its answer began, None when there was none."""
    peer.connections -= 1
    if peer.ranks is None:
        return
    if seconds is not None:
        if peer.ewma is None:
            peer.ewma = seconds
        else:
            share = exp((peer.seen - now) / DECAY)
            peer.ewma = max(seconds, peer.ewma * share + seconds * (1 - share))
        peer.seen = now
    peer.ranks.changed(peer)
