"""Keeping a worker's plan and caches up with the datastore, event by event.

A write on this node raises the shared generation number before its 2xx goes out. A worker whose own number is lower
catches up before it serves the next request, so no request after the 2xx sees what was before; the bell makes this
happen at once and off the request path. Writes of other nodes are found by looking at the events now and then; the
worker that finds one raises the number as well, before it applies it: what one worker of a node serves, all do.

Everything that reads the store happens in *rounds*, one at a time, each in a greenlet of its own. Requests wait for a
round, but not for long: a store that has stopped answering must not stop proxying.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from kong_gevent.db.strategies.base import SIGNAL
from kong_gevent.errors import EventsLost
from kong_gevent.runtime.caches import LookupCache
from kong_gevent.runtime.pace import REST, ReadAhead, paced

if TYPE_CHECKING:
    from kong_gevent.runtime.plan import Plan
    from kong_gevent.runtime.shared import SharedState

log = logging.getLogger("kong_gevent.sync")
PAGE = 250
"""Events that are read, and applied, at a time: for as long as it takes to decode them a thread has the interpreter."""
STRICT_SECONDS = 3.0
"""How long a request waits for what was written on its node; after that the store counts as away."""
REPEAT_SECONDS = 30.0
"""How often, at most, a failure is logged that goes on but gives another reason."""
MAX_LATER = 20_000
"""Events remembered for a second look; when there are more, everything is compared instead."""
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


class Round:
    """One look at the store, and which generation it includes. `succeeded` counts once `done` is set."""

    __slots__ = ("began", "done", "generation", "succeeded")

    def __init__(self) -> None:
        self.began = monotonic()
        self.generation = 0
        self.done = Event()
        self.succeeded = False


class Synchronizer:
    """Applies the store's events to one worker's plan and cache.

    `propagation`: seconds by which replicas of the store may lag; what an event touches is looked at again after them.
    """

    def __init__(
        self, store: Any, plan: Plan, cache: LookupCache, shared: SharedState, propagation: float = 0.0
    ) -> None:
        self._store = store
        self._plan = plan
        self._cache = cache
        self._shared = shared
        self._propagation = propagation
        self._round: Round | None = None
        self._awaited = 0
        self._cursor = 0
        self._lost = self._filling = False
        self._later: deque[tuple[float, list[Any]]] = deque()
        self._compare_at: float | None = None
        self._failed_at = -1
        self._logged: tuple[str, float] | None = None
        self.generation = -1
        self.loaded = False
        """Whether there is a configuration to serve."""
        self.reached = False
        """Whether it is the store's; otherwise it came from elsewhere, and the store has not answered yet."""
        self.on_reached: Callable[[], None] = lambda: None
        self.learn_vaults: Callable[[], None] = lambda: None
        """Called before anything is applied that may refer to vaults that are new, or not what they were."""
        self.listeners: dict[str, Callable[[str], None]] = {}
        """Topic → what is called with the text of each signal of another node."""
        self.failure: str | None = None
        self.changes = 0
        """Grows whenever the plan has changed."""
        self.changed_at = 0.0

    # --- loading -----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load everything. Raises what the store raises."""
        generation = self._shared.generation
        self._load_all()
        self._succeeded(generation)

    def load_from(self, entities: Mapping[str, list[dict[str, Any]]]) -> bool:
        """Fill the plan with entities by kind that do not come from the store; False when the store is faster."""
        if self.loaded or self._filling:
            return False
        self.generation = self._shared.generation
        self._plan.load({kind: entities.get(kind, []) for kind in PLANNED})
        self.loaded = True
        return True

    def _load_all(self) -> None:
        cursor = self._store.last_event_id()
        self.learn_vaults()
        pages = {kind: ReadAhead(self._store.dao(kind).each(bare=True)) for kind in PLANNED}
        try:
            # Also at a start: the other workers of this node may have begun before what is there now was written.
            self._announce(cursor)
            if self.loaded:
                self._apply(self._differences(pages))
            else:
                self._filling = True
                self._plan.load({kind: paced(page) for kind, page in pages.items()})
                self._changed()
        finally:
            self._filling = False
            for page in pages.values():
                page.close()
        self._cache.clear()
        self._cursor = cursor
        self._lost = False
        self.reached = self.loaded = True
        self.on_reached()

    def _differences(self, stored: dict[str, ReadAhead[dict[str, Any]]]) -> list[Found]:
        """What in the store differs from the plan."""
        found: list[Found] = []
        held = self._plan.entities()
        for kind in PLANNED:
            known = held[kind]
            for entity in paced(stored[kind], self._rest):
                if known.pop(entity["id"], None) != entity:
                    found.append((kind, entity["id"], entity))
            found += [(kind, key, None) for key in known]
        return found

    # --- rounds ------------------------------------------------------------------------------------------------------

    def begin(self) -> Round:
        """The round under way, else a new one."""
        if self._round is None:
            self._round = Round()
            gevent.spawn(self._run, self._round)
        return self._round

    def catch_up(self) -> None:
        """Apply all that was published on this node so far. A store that does not answer leaves the plan as it is."""
        wanted = self._shared.generation
        while self.generation != wanted and self._failed_at != wanted:
            # A round that began before the write may have missed it: then there is another.
            current = self.begin()
            self._awaited += 1
            try:
                in_time = current.done.wait(max(0.0, current.began + STRICT_SECONDS - monotonic()))
            finally:
                self._awaited -= 1
            if not in_time:
                self._failed(f"no answer for {STRICT_SECONDS:g} s", wanted)
            wanted = self._shared.generation

    def poll(self) -> None:
        """Look for what other nodes wrote. Returns when that is done, or has failed."""
        self.begin().done.wait()

    def _run(self, current: Round) -> None:
        current.generation = self._shared.generation
        try:
            self._look()
        except Exception as error:
            self._failed(str(error), current.generation)
        else:
            current.succeeded = True
            self._succeeded(current.generation)
        finally:
            self._round = None
            current.done.set()

    def _succeeded(self, generation: int) -> None:
        self.generation = generation
        self._failed_at = -1
        if self.failure is not None:
            log.warning("the datastore can be read again")
            self.failure = None
            self._logged = None
        self._cache.store_answers()

    def _failed(self, reason: str, generation: int) -> None:
        """Note why the store cannot be read. Requests do not wait for it again until somebody writes on this node."""
        self.failure = reason
        self._failed_at = generation
        now = monotonic()
        if self._logged is None or (self._logged[0] != reason and now - self._logged[1] > REPEAT_SECONDS):
            self._logged = (reason, now)
            if self.loaded:
                log.error("the datastore cannot be read, going on with the configuration in memory: %s", reason)
            else:
                log.error("the configuration cannot be loaded, waiting for the datastore: %s", reason)

    def _look(self) -> None:
        if not self.reached:
            self._store.connect()
            self._load_all()
            return
        if not self._lost and not self._apply_new():
            log.warning("events of the datastore are no longer there: loading the whole configuration")
            self._lost = True
        if self._lost:
            self._load_all()
        self._look_again()

    # --- events ------------------------------------------------------------------------------------------------------

    def _apply_new(self) -> bool:
        """Apply the events since the last time; False when some are gone."""
        while True:
            try:
                events = self._store.events_after(self._cursor, PAGE)
            except EventsLost:
                return False
            if events:
                foreign = [event.id for event in events if event.origin != self._store.origin]
                if foreign:
                    self._announce(foreign[-1])
                    self._hear(events)
                self._take(events)
                self._cursor = events[-1].id
                self._remember(events)
            if len(events) < PAGE:
                return True

    def _announce(self, event: int) -> None:
        """Have the other workers of this node look, too, before they answer again."""
        begun = self._shared.found(event)
        if self._round is not None and begun == self._round.generation + 1:
            self._round.generation = begun  # nothing else has been written that this round might miss

    def _hear(self, events: list[Any]) -> None:
        """Pass on the signals of other nodes."""
        for event in events:
            listener = self.listeners.get(event.entity) if event.op == SIGNAL else None
            if listener is None or event.origin == self._store.origin:
                continue
            try:
                listener(event.key)
            except Exception:
                log.exception("the signal %s %s cannot be followed", event.entity, event.key)

    def _take(self, events: list[Any]) -> None:
        """Apply a run of events; of several for one entity only its present state counts."""
        changed: dict[tuple[str, str], None] = {}
        for event in events:
            for key in event.cache_keys:
                self._cache.drop(key)
            self._cache.drop(f"{event.entity}:id:{event.key}")
            if event.entity in PLANNED:
                changed[(event.entity, event.key)] = None
        if any(event.entity == VAULTS for event in events):
            self.learn_vaults()
        if changed:
            self._apply(self._read(list(changed)))

    def _read(self, keys: list[tuple[str, str]]) -> list[Found]:
        """The present state of entities, and of services that routes among them need and the plan does not have."""
        found = self._select_all(keys)
        known = {key for kind, key, _ in found if kind == "services"} | self._plan.services.keys()
        needed = {
            ("services", entity["service"]["id"])
            for kind, _, entity in found
            if kind == "routes" and entity is not None and entity["service"] is not None
        }
        missing = sorted(key for key in needed if key[1] not in known)
        return found + self._select_all(missing) if missing else found

    def _select_all(self, keys: list[tuple[str, str]]) -> list[Found]:
        by_kind: dict[str, list[str]] = {}
        for kind, key in keys:
            by_kind.setdefault(kind, []).append(key)
        found: list[Found] = []
        for kind, ids in by_kind.items():
            present = paced(self._store.dao(kind).select_many(ids), self._rest)
            found += ((kind, key, entity) for key, entity in zip(ids, present, strict=True))
        return found

    def _rest(self) -> float:
        """How long what is applied rests between two slices: not at all while requests wait for it."""
        return 0 if self._awaited else REST

    def _apply(self, found: list[Found]) -> None:
        """Take over what differs from the plan; an entity that the plan cannot take is logged and left out."""
        for kind, key, entity in paced(_in_order(found), self._rest):
            if self._plan.held(kind, key) == entity and entity is not None:
                continue
            try:
                self._plan.apply(kind, key, entity)
            except Exception:
                log.exception("%s %s cannot be applied", kind, key)
            self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self.changed_at = monotonic()

    # --- the second look ---------------------------------------------------------------------------------------------

    def _remember(self, events: list[Any]) -> None:
        """Keep events for a second look, when replicas that lag have them too."""
        if not self._propagation:
            return
        due = monotonic() + self._propagation
        self._later.append((due, events))
        if len(self._later) * PAGE > MAX_LATER and sum(len(some) for _, some in self._later) > MAX_LATER:
            self._later.clear()
            self._compare_at = due

    def _look_again(self) -> None:
        now = monotonic()
        while self._later and self._later[0][0] <= now:
            self._take(self._later[0][1])
            self._later.popleft()
        if self._compare_at is not None and self._compare_at <= now:
            self._load_all()
            self._compare_at = None


def _in_order(found: list[Found]) -> Iterator[Found]:
    """Changes in an order in which every moment in between is safe to serve."""
    for kind in _GOING:
        yield from (change for change in found if change[0] == kind and change[2] is None)
    for kind in _COMING:
        yield from (change for change in found if change[0] == kind and change[2] is not None)
    for kind in _LAST:
        yield from (change for change in found if change[0] == kind and change[2] is None)
