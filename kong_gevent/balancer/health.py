"""The health of a peer, as in Kong 3.9: what reports make of it, and what in an answer counts as which report.

A state is one number, so that processes can share it: which of the four states, and four counters of 8 bits. It goes
`HEALTHY` → `MOSTLY_HEALTHY` (failures, still served) → `UNHEALTHY` → `MOSTLY_UNHEALTHY` (successes, not yet served) →
`HEALTHY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

HEALTHY, MOSTLY_HEALTHY, UNHEALTHY, MOSTLY_UNHEALTHY = range(4)
SUCCESS, HTTP_FAILURE, TCP_FAILURE, TIMEOUT = 8, 16, 24, 32
"""Kinds of reports: where in a state their counter is."""
_FAILURES = 0xFF << HTTP_FAILURE | 0xFF << TCP_FAILURE | 0xFF << TIMEOUT
_SUCCESSES = 0xFF << SUCCESS
_STATE = 0xFF


def kind_of(state: int) -> int:
    """Which of the four states it is."""
    return state & _STATE


def is_available(state: int) -> bool:
    """Whether a peer in this state gets traffic."""
    return state & _STATE < UNHEALTHY


def after(state: int, report: int, limit: int) -> int:
    """The state after a report of this kind; `limit`: how many make the turn, 0 when they do not count."""
    kind = state & _STATE
    good = report == SUCCESS
    if not limit or kind == (HEALTHY if good else UNHEALTHY):
        return state
    count = (state >> report & 0xFF) + 1
    counters = state & (_SUCCESSES if good else _FAILURES)
    counters = counters & ~(0xFF << report) | min(count, 0xFF) << report
    if count >= limit:
        kind = HEALTHY if good else UNHEALTHY
    elif kind in (HEALTHY, UNHEALTHY):
        kind = MOSTLY_UNHEALTHY if good else MOSTLY_HEALTHY
    return counters | kind


class Limits(NamedTuple):
    """What one kind of checks (active or passive) counts: limits by kind of report, and statuses.

    `interval_healthy`, `interval_unhealthy`: s between probes, 0 for none (always with passive checks).
    """

    limits: Mapping[int, int]
    good: frozenset[int]
    bad: frozenset[int]
    interval_healthy: float
    interval_unhealthy: float

    @classmethod
    def of(cls, checks: Mapping[str, Any]) -> Limits:
        """From `healthchecks.active` or `healthchecks.passive` of an upstream; `tcp` checks look at no status."""
        good, bad = checks["healthy"], checks["unhealthy"]
        limits = {
            SUCCESS: good["successes"],
            HTTP_FAILURE: bad["http_failures"],
            TCP_FAILURE: bad["tcp_failures"],
            TIMEOUT: bad["timeouts"],
        }
        looks = checks["type"] != "tcp"
        return cls(
            limits,
            frozenset(good["http_statuses"] if looks else ()),
            frozenset(bad["http_statuses"] if looks else ()),
            good.get("interval", 0),
            bad.get("interval", 0),
        )

    @property
    def probes(self) -> bool:
        """Whether peers are asked."""
        return self.interval_healthy > 0 or self.interval_unhealthy > 0

    @property
    def fails(self) -> bool:
        """Whether any failure counts."""
        return any(limit for report, limit in self.limits.items() if report != SUCCESS)

    def report_of(self, status: int) -> int | None:
        """What an answer with this status counts as; None when it says nothing."""
        if status in self.good:
            return SUCCESS
        return HTTP_FAILURE if status in self.bad else None


def share_is_enough(available: int, total: int, threshold: float) -> bool:
    """Whether an upstream can be used with so much of its weight available; `threshold` in per cent, to be exceeded."""
    return total > 0 and available * 100 > threshold * total


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """State of an upstream's balancer on this node.

    `targets`: id of a target → its `health` (`HEALTHY`, `UNHEALTHY`, `HEALTHCHECKS_OFF`, `DNS_ERROR`) and `data`
    (`host`, `port`, `weight`, `nodeWeight`, `dns`, `addresses`); `balancer_health`: `HEALTHY` or `UNHEALTHY`;
    `checked`: whether health checks are on; `details`: `healthy`, `weight`, `hosts` as the Admin API shows them.
    """

    targets: Mapping[str, Mapping[str, Any]]
    balancer_health: str
    checked: bool
    details: Mapping[str, Any]
