"""Counting against limits that hold for several nodes together.

A request is decided at once, by what this node has counted and what it knows of the others. In the background one
worker of the node tells the others and learns from them, for all workers, in batches. Only a counter that this node
knows nothing of is read first; requests that need such a read share it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from time import time
from typing import Any, Protocol

import gevent
from gevent.event import Event

from kong_gevent.pdk.kit import CountersUnavailable
from kong_gevent.runtime.counts import MAX_KNOWN, OTHERS, OWN, CountTable, Slot

log = logging.getLogger("kong_gevent.counters")
CHUNK = 100
"""Counters that are looked at under one lock and told with one call."""
TURN = 5.0
"""Seconds for which a worker that does not come back keeps others from synchronising in its place."""
PATIENCE = 1.0
"""Seconds that a request waits for the counts of the other nodes."""
TRIES = 3


class Place(Protocol):
    """Where the nodes tell each other what they have counted. Methods raise when it cannot be reached."""

    name: str
    """For messages."""

    def read(self, slots: Sequence[Slot]) -> None:
        """Learn what the others have counted."""
        ...

    def sync(self, slots: Sequence[Slot]) -> None:
        """Tell what is new here, and learn."""
        ...

    def push(self, slots: Sequence[Slot]) -> object:
        """Tell what is new here."""
        ...

    def ping(self) -> None:
        """Return when the place answers."""
        ...


class StorePlace:
    """The datastore: every origin writes its own totals, so telling them again does no harm."""

    name = "the datastore"

    def __init__(self, table: CountTable, strategy: Any) -> None:
        self._table = table
        self._strategy = strategy

    def read(self, slots: Sequence[Slot]) -> None:
        """See `Place.read`."""
        found = self._strategy.read_counts([slot.key for slot in slots])
        learned = []
        for slot in slots:
            totals = found.get(slot.key, {})
            told = totals.get(self._table.origin, 0)
            learned.append((slot, sum(totals.values()) - told, told))
        self._table.learn(learned)

    def sync(self, slots: Sequence[Slot]) -> None:
        """See `Place.sync`."""
        self.read(slots)
        self.push(slots)

    def push(self, slots: Sequence[Slot]) -> None:
        """See `Place.push`."""
        claims = self._table.claim(slots, confirmed=True)
        if claims:
            counts = {claim.slot.key: (claim.total, float(claim.slot.ends)) for claim in claims}
            self._strategy.push_counts(self._table.origin, counts)
            self._table.confirm(claims)

    def ping(self) -> None:
        """See `Place.ping`."""
        self._strategy.ping()


class _Batch:
    """Counters that are read together, and the requests that wait for that."""

    def __init__(self) -> None:
        self.wanted: dict[int, int] = {}
        self.done = Event()
        self.failed = False


class Replica:
    """This worker's part in one group of counters: reading what requests need, and taking turns at synchronising.

    `interval` in s between synchronisations. `close` as often as there were calls of `open`.
    """

    def __init__(self, table: CountTable, identity: Any, place: Place, interval: float) -> None:
        self.table = table
        self.group = table.group(identity)
        self.interval = interval
        self.failure = table.failure(self.group)
        self._place = place
        self._pid = os.getpid()
        self._users = 0
        self._timer: gevent.Greenlet | None = None
        self._reader: gevent.Greenlet | None = None
        self._next = _Batch()
        self._current: _Batch | None = None

    def open(self) -> None:
        """Begin to synchronise, unless that has begun."""
        self._users += 1
        if self._timer is None:
            self._timer = gevent.spawn(self._run)

    def close(self) -> None:
        """The end of one use."""
        self._users -= 1
        if not self._users:
            self.stop()

    def stop(self) -> None:
        """Synchronise no more."""
        if self._timer is not None:
            self._timer.kill(block=False)
            self._timer = None
        self.table.leave_turn(self.group, self._pid)

    def flush(self) -> None:
        """Tell what has not been told; for a worker that leaves."""
        try:
            for slots in self._slots():
                self._place.push(slots)
        except Exception as error:
            log.error("shared counts may be incomplete: %s", error)
        self.table.leave_turn(self.group, self._pid)

    def learn(self, wanted: Sequence[tuple[int, int]]) -> bool:
        """Read what the others have counted at these places (with their codes); False when that cannot be had now."""
        if self.failure[0]:
            return False
        batches = []
        for place, code in wanted:
            batch = self._current
            if batch is None or batch.wanted.get(place) != code:
                batch = self._next
                batch.wanted[place] = code
            if batch not in batches:
                batches.append(batch)
        if self._reader is None:
            self._reader = gevent.spawn(self._read)
        for batch in batches:
            if not batch.done.wait(PATIENCE):
                self._away(f"no answer in {PATIENCE:g} s")
                return False
            if batch.failed:
                return False
        return True

    def _read(self) -> None:
        """Read all that is wanted; what comes meanwhile is the next batch."""
        while self._next.wanted:
            batch = self._current = self._next
            self._next = _Batch()
            try:
                for chunk in _chunks(list(batch.wanted.items())):
                    self._place.read(self.table.slots_of(chunk))
            except Exception as error:
                batch.failed = True
                self._away(error)
            batch.done.set()
        self._current = self._reader = None

    def _run(self) -> None:
        while True:
            gevent.sleep(self.interval)
            if self.table.take_turn(self.group, self._pid, TURN + self.interval):
                self.turn()

    def turn(self) -> None:
        """Synchronise all counters in use."""
        reached = False
        try:
            for slots in self._slots():
                self._place.sync(slots)
                reached = True
                gevent.sleep(0)
            if not reached and self.failure[0]:
                self._place.ping()
                reached = True
        except Exception as error:
            self._away(error)
            return
        if reached and self.table.set_failed(self.group, False):
            log.warning("shared counts are synchronised with %s again", self._place.name)

    def _slots(self) -> Iterator[list[Slot]]:
        for chunk in _chunks(self.table.in_use(self.group)):
            slots = self.table.look(chunk, self.group)
            if slots:
                yield slots

    def _away(self, reason: object) -> None:
        if self.table.set_failed(self.group, True):
            log.error("shared counts cannot be synchronised with %s: %s", self._place.name, reason)


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    return (items[at : at + CHUNK] for at in range(0, len(items), CHUNK))


class ReplicatedCounters:
    """See `kong_gevent.pdk.kit.SharedCounters`; owners are tuples of texts.

    `tolerant`: counting goes on with what this node knows while the others' counts cannot be had.
    """

    def __init__(self, replica: Replica, tolerant: bool) -> None:
        self._replica = replica
        self._table = replica.table
        self._words = replica.table.words
        self._lock = replica.table.lock
        self._failure = replica.failure
        self._tolerant = tolerant
        self._owners: dict[Any, tuple[Any, list[int], list[int]]] = {}
        replica.open()

    def close(self) -> None:
        """See `SharedCounters.close`."""
        self._replica.close()

    def consume(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """See `SharedCounters.consume`."""
        if self._failure[0] and not self._tolerant:
            raise CountersUnavailable("the counts of the other nodes cannot be reached")
        words = self._words
        known = self._owners.get(owner)
        if known is not None and known[0] is windows:
            places = known[1]
            values: list[int] = []
            below = True
            lock = self._lock
            lock.acquire()
            try:
                for place, code, window in zip(places, known[2], windows):  # noqa: B905 - one of each per window
                    others = words[place + OTHERS]
                    if words[place] != code or others < 0:
                        break
                    value = words[place + OWN] + others
                    values.append(value)
                    if value >= window[1]:
                        below = False
                else:
                    if below:
                        for place in places:
                            words[place + OWN] += 1
                    return below, values
            finally:
                lock.release()
        return self._consume_slowly(owner, windows)

    def usage(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> list[int]:
        """See `SharedCounters.usage`: nothing is below a limit of 0, so nothing is counted."""
        return self.consume(owner, windows)[1]

    def add(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]], amount: int) -> None:
        """See `SharedCounters.add`."""
        codes = [hash((self._replica.group, owner, window[0])) or 1 for window in windows]
        with self._lock:
            for place in self._find(owner, windows, codes, True):
                self._words[place + OWN] += amount

    def _consume_slowly(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """Find the counters, read those that this node knows nothing of, then decide."""
        codes = [hash((self._replica.group, owner, window[0])) or 1 for window in windows]
        usable = False
        for _ in range(TRIES):
            with self._lock:
                places = self._find(owner, windows, codes, usable)
                unknown = [
                    (place, code) for place, code in zip(places, codes, strict=True) if self._words[place + OTHERS] < 0
                ]
                if not unknown:
                    return self._decide(places, windows)
            if not self._replica.learn(unknown):
                if not self._tolerant:
                    raise CountersUnavailable("the counts of the other nodes cannot be reached")
                usable = True
        raise CountersUnavailable("the counters of this node are overcrowded")

    def _find(
        self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]], codes: list[int], usable: bool
    ) -> list[int]:
        """Places of the counters; one that ends soon, or all if `usable`, need not know what the others say."""
        table, words, now = self._table, self._words, time()
        places = []
        for code, window in zip(codes, windows, strict=True):
            place = table.place(code, self._replica.group, owner, window, now)
            if words[place + OTHERS] < 0 and (usable or window[2] - now <= 2 * self._replica.interval):
                table.use_anyway(place)
            places.append(place)
        if len(self._owners) >= MAX_KNOWN:
            self._owners.clear()
        self._owners[owner] = (windows, places, codes)
        return places

    def _decide(self, places: list[int], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        words = self._words
        values = [words[place + OWN] + words[place + OTHERS] for place in places]
        below = all(value < window[1] for value, window in zip(values, windows, strict=True))
        if below:
            for place in places:
                words[place + OWN] += 1
        return below, values
