"""Health checks of one upstream: what its peers' tries and probes are reported as, and who of them is available."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kong_gevent.balancer.algorithms import Peer
from kong_gevent.balancer.health import TCP_FAILURE, TIMEOUT, Limits, is_available
from kong_gevent.runtime.health_table import HealthTable

if TYPE_CHECKING:
    from gevent.pool import Pool

    from kong_gevent.runtime.tls import Outgoing

log = logging.getLogger("kong_gevent.health")


class Checks:
    """The checks of an upstream that has any. `epoch`: the one up to which peers know their health."""

    def __init__(self, entity: dict[str, Any], table: HealthTable) -> None:
        checks = entity["healthchecks"]
        self.upstream = entity
        self.tls: Outgoing | None = None
        """TLS parameters of probes; found when the first one needs them."""
        self.probing: dict[bool, Pool] = {}
        """The probes under way, of peers that are served and of the others."""
        self.complained = False
        """Whether the log has been told that probes have no usable certificate."""
        self.name: str = entity["name"]
        self.settings: dict[str, Any] = checks["active"]
        self.host: str | None = entity["host_header"]
        self.active = Limits.of(checks["active"])
        self.passive = Limits.of(checks["passive"])
        self._table = table
        self._places: dict[Peer, int] = {}
        self.epoch = -1

    @classmethod
    def of(cls, entity: dict[str, Any], table: HealthTable) -> Checks | None:
        """The checks of an upstream, None when it has none: no probes, and no failure of a request counts."""
        checks = cls(entity, table)
        return checks if checks.active.probes or checks.passive.fails else None

    def take(self, peers: Iterable[Peer]) -> None:
        """These are the peers from now on."""
        places = {}
        watched = self.passive.fails
        for peer in peers:
            place = self._table.claim((self.name, peer.ip, peer.port, peer.name))
            if place is None:
                log.error("upstream %s: %s is not checked: too many peers", self.name, peer)
                peer.watch, peer.available = None, True
                continue
            places[peer] = place
            peer.watch = Watch(self, peer) if watched else None
        self._places = places
        self.epoch = -1

    def forget(self, peer: Peer) -> None:
        """The peer was taken away: should it come again, it is new."""
        place = self._table.claim((self.name, peer.ip, peer.port, peer.name))
        if place is not None:
            self._table.put(place, True)

    @property
    def outdated(self) -> bool:
        """Whether somebody's availability has changed since `learn`."""
        return self._table.epoch[0] != self.epoch

    def learn(self) -> None:
        """Tell the peers whether they are available."""
        self.epoch = self._table.epoch[0]
        for peer, place in self._places.items():
            peer.available = is_available(self._table.state(place))

    def touch(self) -> None:
        """Have the health of the peers remembered."""
        for place in self._places.values():
            self._table.touch(place)

    def available(self, peer: Peer) -> bool:
        """Whether a peer is available at this moment."""
        place = self._places.get(peer)
        return place is None or is_available(self._table.state(place))

    def peers(self) -> list[Peer]:
        """The peers that are checked."""
        return list(self._places)

    def report(self, peer: Peer, limits: Limits, report: int | None) -> None:
        """Count what a try or a probe has shown of a peer; None counts nothing."""
        place = self._places.get(peer)
        if report is None or place is None:
            return
        self._tell(peer, self._table.report(place, report, limits.limits[report]))

    def put(self, peer: Peer, healthy: bool) -> None:
        """Set a peer's health by hand."""
        place = self._places.get(peer)
        if place is not None:
            self._tell(peer, self._table.put(place, healthy))

    def _tell(self, peer: Peer, turned: bool | None) -> None:
        if turned is not None:
            word = "healthy" if turned else "unhealthy"
            ip = f"[{peer.ip}]" if ":" in peer.ip else peer.ip
            log.warning("upstream %s: %s:%d of target %s is %s", self.name, ip, peer.port, peer.name, word)


class Watch:
    """What a peer's tries are told to, when they count."""

    __slots__ = ("_checks", "_limits", "_peer")

    def __init__(self, checks: Checks, peer: Peer) -> None:
        self._checks = checks
        self._limits = checks.passive
        self._peer = peer

    def answered(self, status: int) -> None:
        """A try was answered with this status."""
        limits = self._limits
        self._checks.report(self._peer, limits, TIMEOUT if status == 504 else limits.report_of(status))

    def failed(self, status: int) -> None:
        """A try had no answer: 504 for one that took too long."""
        self._checks.report(self._peer, self._limits, TIMEOUT if status == 504 else TCP_FAILURE)
