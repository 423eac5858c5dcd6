"""What changes of the store mean for a worker: the entities and look-ups they are about, and a safe order of them."""

from __future__ import annotations

from collections.abc import Iterator
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
