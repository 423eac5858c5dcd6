"""Keeping a worker's plan and caches up with the datastore, event by event.

A write on this node raises the shared generation number before its 2xx goes out. A worker whose own number is lower
catches up before it serves the next request, so no request after the 2xx sees what was before; the bell makes this
happen at once and off the request path. Writes of other nodes are found by looking at the events now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent.lock import RLock

from kong_gevent.errors import EventsLost
from kong_gevent.runtime.caches import LookupCache

if TYPE_CHECKING:
    from kong_gevent.runtime.plan import Plan
    from kong_gevent.runtime.shared import SharedState

log = logging.getLogger("kong_gevent.sync")
PAGE = 1000
RETRY_SECONDS = 0.5
PLANNED = ("services", "routes", "plugins")
"""Kinds of entities that the plan holds; all others are looked up when needed."""


class Synchronizer:
    """Applies the store's events to one worker's plan and cache."""

    def __init__(self, store: Any, plan: Plan, cache: LookupCache, shared: SharedState) -> None:
        self._store = store
        self._plan = plan
        self._cache = cache
        self._shared = shared
        self._lock = RLock()
        self._cursor = 0
        self._retry_at = 0.0
        self._failed_at = -1
        self.generation = -1
        self.loaded = False
        self.failure: str | None = None

    def load(self) -> None:
        """Load everything into an empty plan. Raises what the store raises."""
        with self._lock:
            generation = self._shared.generation
            self._cursor = self._store.last_event_id()
            daos = {kind: self._store.dao(kind) for kind in PLANNED}
            self._plan.load(*(daos[kind].each() for kind in PLANNED))
            self._cache.clear()
            self.generation = generation
            self.loaded = True
            self.failure = None

    def catch_up(self) -> None:
        """Apply all that was published on this node so far. A store that does not answer leaves the plan as it is."""
        if monotonic() < self._retry_at and self._shared.generation == self._failed_at:
            return  # nobody has written since, so there is no sign that the store is back
        with self._lock:
            generation = self._shared.generation
            if self.generation != generation and self._try(self._apply_new):
                self.generation = generation

    def poll(self) -> None:
        """Look for what other nodes wrote."""
        with self._lock:
            generation = self._shared.generation
            if self._try(self._apply_new):
                self.generation = generation

    def _try(self, action: Callable[[], None]) -> bool:
        generation = self._shared.generation
        try:
            action()
        except Exception as error:
            if self.failure is None:
                log.error("the datastore cannot be read, going on with the configuration in memory: %s", error)
            self.failure = str(error)
            self._failed_at = generation
            self._retry_at = monotonic() + RETRY_SECONDS
            return False
        if self.failure is not None:
            log.warning("the datastore can be read again")
            self.failure = None
        self._retry_at = 0.0
        return True

    def _apply_new(self) -> None:
        while True:
            try:
                events = self._store.events_after(self._cursor, PAGE)
            except EventsLost:
                self._reload()
                return
            if not events:
                return
            self._apply(events)
            self._cursor = events[-1].id
            if len(events) < PAGE:
                return

    def _reload(self) -> None:
        """Compare everything with the plan; only what differs is applied."""
        log.warning("events of the datastore are no longer there: loading the whole configuration")
        self._cursor = self._store.last_event_id()
        held: dict[str, dict[str, Any]] = {
            "services": {key: entry.entity for key, entry in self._plan.services.items()},
            "routes": {key: entry.entity for key, entry in self._plan.routes.items()},
            "plugins": dict.fromkeys(self._plan.table.ids()),
        }
        for kind in PLANNED:
            known = held[kind]
            for entity in self._store.dao(kind).each():
                if known.pop(entity["id"], None) != entity:
                    self._plan.apply(kind, entity["id"], entity)
            for key in known:
                self._plan.apply(kind, key, None)
        self._cache.clear()

    def _apply(self, events: list[Any]) -> None:
        """Apply a run of events; of several for one entity only its present state counts."""
        changed: dict[tuple[str, str], None] = {}
        for event in events:
            for key in event.cache_keys:
                self._cache.drop(key)
            self._cache.drop(f"{event.entity}:id:{event.key}")
            if event.entity in PLANNED:
                changed[(event.entity, event.key)] = None
        for kind, key in sorted(changed, key=lambda change: PLANNED.index(change[0])):
            self._plan.apply(kind, key, self._store.dao(kind).select(key))
