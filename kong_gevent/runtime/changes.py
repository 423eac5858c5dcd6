"""What changes of the store mean for a worker: the entities and look-ups they are about, and a safe order of them.

And which of them are looked at a second time, when replicas of the store that lag have them, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Any

PLANNED = ("certificates", "snis", "ca_certificates", "upstreams", "targets", "services", "routes", "plugins")
"""Kinds of entities that the plan holds; all others are looked up when needed."""
VAULTS = "vaults"
_GOING = ("routes", "services", "targets", "upstreams", "snis")
_COMING = ("certificates", "snis", "ca_certificates", "upstreams", "targets", "services", "plugins", "routes")
_LAST = ("plugins", "certificates", "ca_certificates")
"""In which order changes are applied: what goes, what comes, and what goes only when nothing can refer to it any more.

A route comes after its plugins and goes before them: never without. The same holds for server names and certificates.
"""

MAX_LATER = 20_000
"""Events remembered for a second look; when there are more, everything is compared instead."""
Found = tuple[str, str, dict[str, Any] | None]
"""Kind, id and present state of an entity (None: it is gone)."""


def lookups(events: list[Any]) -> Iterator[str]:
    """Look-ups that have another result after some events."""
    for event in events:
        yield from event.cache_keys
        yield f"{event.entity}:id:{event.key}"


def planned(events: list[Any]) -> list[tuple[str, str]]:
    """Entities of the plan that events are about, each once."""
    return list(dict.fromkeys((event.entity, event.key) for event in events if event.entity in PLANNED))


def in_order(found: list[Found]) -> Iterator[Found]:
    """Changes in an order in which every moment in between is safe to serve."""
    for kind in _GOING:
        yield from (change for change in found if change[0] == kind and change[2] is None)
    for kind in _COMING:
        yield from (change for change in found if change[0] == kind and change[2] is not None)
    for kind in _LAST:
        yield from (change for change in found if change[0] == kind and change[2] is None)


class SecondLooks:
    """Events that are looked at again. `propagation`: seconds by which replicas of the store may lag; 0: none do."""

    def __init__(self, propagation: float) -> None:
        self.propagation = propagation
        self._later: deque[tuple[float, list[Any]]] = deque()
        self._count = 0
        self._everything_at: float | None = None

    def remember(self, events: list[Any]) -> None:
        """They have been looked at."""
        if not self.propagation:
            return
        due = monotonic() + self.propagation
        self._later.append((due, events))
        self._count += len(events)
        if self._count > MAX_LATER:
            self._later.clear()
            self._count = 0
            self._everything_at = due

    def due(self) -> Iterator[list[Any]]:
        """Those whose time has come, each list forgotten once it has been dealt with."""
        now = monotonic()
        while self._later and self._later[0][0] <= now:
            yield self._later[0][1]
            self._count -= len(self._later.popleft()[1])

    def everything_due(self) -> bool:
        """Whether it is time to compare everything, as there were too many; True only once."""
        if self._everything_at is None or self._everything_at > monotonic():
            return False
        self._everything_at = None
        return True
