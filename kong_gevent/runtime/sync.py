"""Keeping a worker's plan and caches up with the datastore, event by event.

A write on this node raises the shared generation number before its 2xx goes out. A worker whose own number is lower
catches up before it serves the next request, so no request after the 2xx sees what was before; the bell makes this
happen at once and off the request path. Writes of other nodes are found by looking at the events now and then; the
worker that finds one raises the number as well, before it applies it: what one worker of a node serves, all do.

Everything that reads the store happens in *rounds*, one at a time, each in a greenlet of its own. Requests wait for a
round, but not for long: a store that has stopped answering must not stop proxying.

Many changes at once are made ready beside the requests, whoever has written them, and come into force together: when
all workers of the node have them ready (`Node.published`), or when a request must not be served without them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from kong_gevent.db.strategies.base import SIGNAL
from kong_gevent.errors import EventsLost, GatewayError
from kong_gevent.runtime.caches import LookupCache
from kong_gevent.runtime.changes import PLANNED, VAULTS, Found, SecondLooks, in_order, lookups, planned
from kong_gevent.runtime.pace import REST, ReadAhead, paced
from kong_gevent.runtime.succession import Coming

if TYPE_CHECKING:
    from kong_gevent.runtime.plan import Plan
    from kong_gevent.runtime.shared import SharedState

log = logging.getLogger("kong_gevent.sync")
PAGE = 250
"""Events that are read, and applied, at a time: for as long as it takes to decode them a thread has the interpreter.

So many and more are made ready beside the requests.
"""
MOST_COMING = 100_000
"""Events that come into force together, at most: more than any change set has."""
STRICT_SECONDS = 3.0
"""How long a request waits for what was written on its node; after that the store counts as away."""
REPEAT_SECONDS = 30.0
"""How often, at most, a failure is logged that goes on but gives another reason."""


class Round:
    """One look at the store, and which generation it includes. `succeeded` counts once `done` is set.

    `alive`: when it was last seen to go on.
    """

    __slots__ = ("alive", "done", "generation", "succeeded")

    def __init__(self) -> None:
        self.alive = monotonic()
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
        self._again = SecondLooks(propagation)
        self._round: Round | None = None
        self._awaited = 0
        self._cursor = 0
        self._lost = self._filling = False
        self._coming: Coming | None = None
        self._failed_at = -1
        self._logged: tuple[str, float] | None = None
        self.generation = -1
        self.loaded = False
        """Whether there is a configuration to serve."""
        self.reached = False
        """Whether it is the store's; otherwise it came from elsewhere, and the store has not answered yet."""
        self.on_reached: Callable[[], None] = lambda: None
        self.learn_vaults: Callable[[Plan], None] = lambda plan: None
        """Called before anything is applied to a plan that may refer to vaults that are new, or not what they were."""
        self.together = False
        """Whether many changes that are `prepared` wait until somebody publishes them, for all workers of the node."""
        self.listeners: dict[str, Callable[[str], None]] = {}
        """Topic → what is called with the text of each signal of another node."""
        self.failure: str | None = None
        self.changes = 0
        """Grows whenever the plan has changed."""
        self.changed_at = 0.0

    @property
    def prepared(self) -> bool:
        """Whether many changes have been made ready that are not in force yet."""
        return self._coming is not None

    # --- loading -----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load everything. Raises what the store raises."""
        generation = self._shared.generation
        self._look()
        self._succeeded(generation)

    def load_from(self, entities: Mapping[str, list[dict[str, Any]]]) -> bool:
        """Fill the plan with entities by kind that do not come from the store; False when the store is faster."""
        if self.loaded or self._filling:
            return False
        self.generation = self._shared.generation
        self._plan.load({kind: entities.get(kind, []) for kind in PLANNED})
        self.loaded = True
        return True

    def _fill(self) -> None:
        cursor = self._store.last_event_id()
        self.learn_vaults(self._plan)
        with self._pages() as pages:
            # The other workers of this node may have begun before what is there now was written.
            self._announce(cursor)
            self._filling = True
            try:
                self._plan.load({kind: paced(page) for kind, page in pages.items()})
            finally:
                self._filling = False
        self.loaded = True
        self._changed()
        self._cache.clear()
        self._cursor = cursor

    def _compare(self) -> None:
        """Make ready whatever in the store differs from the plan."""
        self._drop_coming()
        cursor = self._store.last_event_id()
        coming = Coming(self._plan, self._cache, self._rest)
        coming.all_lookups, coming.foreign = True, cursor
        try:
            self.learn_vaults(coming.successor)
            with self._pages() as pages:
                self._apply(self._differences(pages), coming.successor)
        except BaseException:
            coming.clean_up()
            raise
        self._coming, self._cursor, self._lost = coming, cursor, False

    @contextmanager
    def _pages(self) -> Iterator[dict[str, ReadAhead[dict[str, Any]]]]:
        """All entities of the store that the plan holds, read ahead."""
        pages = {kind: ReadAhead(self._store.dao(kind).each(bare=True)) for kind in PLANNED}
        try:
            yield pages
        finally:
            for page in pages.values():
                page.close()

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
                while not current.done.wait(max(0.0, current.alive + STRICT_SECONDS - monotonic())):
                    if monotonic() >= current.alive + STRICT_SECONDS:
                        self._failed(f"no answer for {STRICT_SECONDS:g} s", wanted)
                        break
            finally:
                self._awaited -= 1
            wanted = self._shared.generation

    def poll(self) -> None:
        """Look for what other nodes wrote. Returns when that is done, or has failed.

        Many changes are only `prepared`, if they are to come into force in all workers `together`.
        """
        self.begin().done.wait()

    def _run(self, current: Round) -> None:
        current.generation = self._shared.generation
        try:
            self._look()
        except Exception as error:
            self._failed(str(error), current.generation, None if isinstance(error, GatewayError) else error)
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

    def _failed(self, reason: str, generation: int, fault: Exception | None = None) -> None:
        """Note why the store cannot be read. Requests do not wait for it again until somebody writes on this node.

        `fault`: what nobody has foreseen, and is logged with the place where it happened.
        """
        self.failure = reason
        self._failed_at = generation
        now = monotonic()
        if self._logged is None or (self._logged[0] != reason and now - self._logged[1] > REPEAT_SECONDS):
            self._logged = (reason, now)
            if self.loaded:
                message = "the datastore cannot be read, going on with the configuration in memory: %s"
            else:
                message = "the configuration cannot be loaded, waiting for the datastore: %s"
            log.error(message, reason, exc_info=fault)

    def _look(self) -> None:
        first = not self.reached
        if first:
            self._store.connect()
            if self.loaded:
                self._lost = True  # the plan is not the store's
            else:
                self._fill()
        if not self._lost:
            try:
                for events in self._again.due():
                    self._take(events, self._cursor)
                self._follow()
            except EventsLost:
                log.warning("events of the datastore are no longer there: loading the whole configuration")
                self._lost = True
        self._lost = self._lost or self._again.everything_due()
        if self._lost:
            self._compare()
            with suppress(EventsLost):  # then everything is compared once more, the next time
                self._follow()
        if self._coming is not None and (first or not self.together or self.generation != self._shared.generation):
            self._bring_into_force()
        if first:
            self.reached = True
            self.on_reached()

    # --- events ------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take over the events since the last time; many of them are only made ready. Raises `EventsLost`."""
        events = self._store.events_after(self._cursor, PAGE)
        while events:
            self._goes_on()
            if any(event.origin != self._store.origin for event in events):
                self._hear(events)
            if len(events) == PAGE and self._coming is None:
                self._coming = Coming(self._plan, self._cache, self._rest)
            later = self._take(events, events[-1].id)
            self._cursor = events[-1].id
            self._again.remember(events)
            if self._coming is not None and self._coming.count >= MOST_COMING:
                return
            events = later

    def _bring_into_force(self) -> None:
        """What was made ready counts from now on."""
        coming, self._coming = self._coming, None
        if coming is None:
            return
        if coming.foreign:
            self._announce(coming.foreign)
        if coming.come_into_force():
            self._changed()
        gevent.spawn(coming.clean_up)

    def _drop_coming(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.clean_up()

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

    def _take(self, events: list[Any], cursor: int) -> list[Any]:
        """Apply a run of events, or make it ready with others; of several for one entity only its present state counts.

        That state may be later than the events up to `cursor`. Those which tell of it are there by then; they are
        returned, and the others must not answer without them: what this worker is about to serve, all do.
        """
        coming = self._coming
        plan = self._plan if coming is None else coming.plan
        changed = planned(events)
        found = self._read(changed, plan)
        later = self._store.events_after(cursor, PAGE, True) if changed or len(events) == PAGE else []
        foreign = max((event.id for event in events if event.origin != self._store.origin), default=0)
        if coming is not None:
            coming.forget(lookups(events))
            coming.count += len(events)
            coming.foreign = foreign or coming.foreign
        else:
            newest = later[-1].id if changed and later else foreign
            if newest:
                self._announce(newest)
            for key in lookups(events):
                self._cache.drop(key)
        if any(event.entity == VAULTS for event in events):
            self.learn_vaults(self._plan if coming is None else coming.successor)
        if changed:
            self._apply(found, self._plan if coming is None else coming.successor)
        return later

    def _read(self, keys: list[tuple[str, str]], plan: Plan) -> list[Found]:
        """The present state of entities, and of services that routes among them need and the plan does not have."""
        found = self._select_all(keys)
        known = {key for kind, key, _ in found if kind == "services"} | plan.services.keys()
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
        self._goes_on()
        return 0 if self._awaited else REST

    def _goes_on(self) -> None:
        """The store has answered, or something of its answer has been dealt with."""
        if self._round is not None:
            self._round.alive = monotonic()

    def _apply(self, found: list[Found], plan: Plan) -> None:
        """Take over what differs from a plan; an entity that the plan cannot take is logged and left out."""
        for kind, key, entity in paced(in_order(found), self._rest):
            if plan.held(kind, key) == entity and entity is not None:
                continue
            try:
                plan.apply(kind, key, entity)
            except Exception:
                log.exception("%s %s cannot be applied", kind, key)
            if plan is self._plan:
                self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self.changed_at = monotonic()
