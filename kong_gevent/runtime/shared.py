"""What the workers of a node share: memory mapped before they are forked, a lock, and a wake-up line for each.

Strategy: plain 64-bit words in one anonymous mapping. Each worker writes statistics in a lane of its own, so they need
no lock. Counters that must be exact (rate limits) and the configuration's generation number change under one lock,
which a waiting worker can take over from a process that died while holding it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from time import time
from typing import Any

from kong_gevent.runtime.counts import CountTable
from kong_gevent.runtime.health_table import HealthTable
from kong_gevent.runtime.lock import SharedLock
from kong_gevent.runtime.metrics import MetricMemory
from kong_gevent.runtime.node_cache import CAPACITY, LEAST, NodeCache
from kong_gevent.runtime.trace.board import TraceBoard

WORD = 8
LANES = 128
LANE_WORDS = 15
PID, ACCEPTED, ACTIVE, WAITING, REQUESTS, READING, WRITING, SERVING, LOOKED, *_LIMITS = range(LANE_WORDS)
SLOW_HEADS, SLOW_BODIES, SLOW_READERS, REFUSED, BAD_PREAMBLES, SLOW_HANDSHAKES = _LIMITS
"""Words of a lane. ACTIVE, WAITING, READING, WRITING are connections; SERVING is 1 once the worker takes requests;
LOOKED is the number of the last look at the store that it was asked for and has done. The others count what clients
were cut off for: heads, bodies and answers that took too long, too many connections, malformed PROXY headers, TLS
handshakes that took too long."""
TOTALS = (ACCEPTED, REQUESTS, *_LIMITS)
"""Words that only grow: they outlive their worker."""
_GENERATION, _HOLDER, _DRAINING, _LEVEL, _EPOCH, _REACHED, _NEWEST, _LOOKS, _FIRST_LANE = 0, 1, 2, 3, 4, 5, 6, 7, 8
COUNTER_SLOTS = 1 << 16
PROBES = 64
_SLOT_WORDS = 3
MAX_KNOWN = 8192
"""Counters and owners whose places a worker remembers."""


_Known = tuple[Sequence[tuple[Any, ...]], list[int], list[int]]
"""Windows, and the place and code of each one's counter."""


def _code(key: Any) -> int:
    """A key's number in the table, never 0; hashed within a tuple, since small integers are their own hash."""
    return hash((key, "counter")) or 1


class SharedCounters:
    """Counters by key in a fixed open-addressed table; every change is made under the lock, so sums are exact.

    Keys are hashed with the interpreter's keyed hash, which all workers inherit from their parent. When all slots that
    a key may use hold live counters, the one that expires first makes room.
    """

    def __init__(self, words: memoryview, lock: SharedLock, slots: int) -> None:
        self._words = words
        self._lock = lock
        self._mask = slots - 1
        self._places: dict[int, int] = {}
        self._owners: dict[Any, _Known] = {}

    def consume(self, owner: Any, windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """See `kong_gevent.pdk.kit.Counters.consume`."""
        words = self._words
        known = self._owners.get(owner)
        values: list[int] = []
        below = True
        lock = self._lock
        lock.acquire()
        try:
            if known is None or known[0] is not windows:
                known = self._look_up(owner, windows)
            places = known[1]
            for place, code, window in zip(places, known[2], windows):  # noqa: B905 - one of each per window
                if words[place] != code:  # another worker has given the slot to another key
                    return self._consume_again(self._look_up(owner, windows)[1], windows)
                value = words[place + 1]
                values.append(value)
                if value >= window[1]:
                    below = False
            if below:
                for place in places:
                    words[place + 1] += 1
        finally:
            lock.release()
        return below, values

    def _look_up(self, owner: Any, windows: Sequence[tuple[Any, ...]]) -> _Known:
        """Where the counters of an owner's windows are; remembered as long as the very same windows are asked for."""
        now = int(time())
        codes = [hash((owner, window[0])) or 1 for window in windows]
        places = [self._place(code, now, window[2]) for code, window in zip(codes, windows, strict=True)]
        known = (windows, places, codes)
        if len(self._owners) >= MAX_KNOWN:
            self._owners.clear()
        self._owners[owner] = known
        return known

    def _consume_again(self, places: list[int], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """The rest of `consume` (under its lock) after a slot had to be found again."""
        words = self._words
        values = [words[place + 1] for place in places]
        below = all(value < window[1] for value, window in zip(values, windows, strict=True))
        if below:
            for place in places:
                words[place + 1] += 1
        return below, values

    def add(self, key: Any, amount: int, expires: float) -> int:
        """See `kong_gevent.pdk.kit.Counters.add`."""
        lock = self._lock
        lock.acquire()
        try:
            place = self._place(_code(key), int(time()), expires)
            self._words[place + 1] += amount
            return self._words[place + 1]
        finally:
            lock.release()

    def value(self, key: Any) -> int:
        """See `kong_gevent.pdk.kit.Counters.value`."""
        lock = self._lock
        lock.acquire()
        try:
            now = int(time())
            place = self._find(_code(key))
            return self._words[place + 1] if place >= 0 and self._words[place + 2] > now else 0
        finally:
            lock.release()

    def used(self) -> int:
        """Slots that have ever been taken."""
        return sum(1 for code in self._words[::_SLOT_WORDS] if code)

    def _find(self, code: int) -> int:
        words = self._words
        start = code & self._mask
        for step in range(PROBES):
            place = ((start + step) & self._mask) * _SLOT_WORDS
            held = words[place]
            if held == code:
                return place
            if not held:
                return -1
        return -1

    def _place(self, code: int, now: int, expires: float) -> int:
        """The first word of the key's slot, made or renewed when need be."""
        words = self._words
        place = self._places.get(code, -1)
        if place < 0 or words[place] != code:
            place = self._search(code, now)
            if len(self._places) >= MAX_KNOWN:
                self._places.clear()
            self._places[code] = place
        if words[place] != code or words[place + 2] <= now:
            words[place] = code
            words[place + 1] = 0
            words[place + 2] = int(expires) + 1
        return place

    def _search(self, code: int, now: int) -> int:
        words = self._words
        start = code & self._mask
        spare, soonest = -1, -1
        for step in range(PROBES):
            place = ((start + step) & self._mask) * _SLOT_WORDS
            held = words[place]
            if held == code:
                return place
            if not held:
                return place if spare < 0 else spare
            if spare < 0 and words[place + 2] <= now:
                spare = place
            if soonest < 0 or words[place + 2] < words[soonest + 2]:
                soonest = place
        return spare if spare >= 0 else soonest


class Lane:
    """The words of one worker; only that worker writes them."""

    __slots__ = ("_base", "_words", "index")

    def __init__(self, words: memoryview, index: int) -> None:
        self._words = words
        self._base = _FIRST_LANE + index * LANE_WORDS
        self.index = index

    def __getitem__(self, word: int) -> int:
        return self._words[self._base + word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[self._base + word] = value

    def words(self) -> memoryview:
        """The lane as a slice, for the hot path."""
        return self._words[self._base : self._base + LANE_WORDS]


class SharedState:
    """One mapping for a node; made in the master before the first fork, or in a single process of its own."""

    def __init__(self, counter_slots: int = COUNTER_SLOTS, cache_bytes: int = CAPACITY) -> None:
        size = (_FIRST_LANE + LANES * LANE_WORDS + counter_slots * _SLOT_WORDS) * WORD
        self._map = mmap.mmap(-1, size)
        self._words = memoryview(self._map).cast("q")
        self.lock = SharedLock(self._words, _HOLDER)
        table = self._words[_FIRST_LANE + LANES * LANE_WORDS :]
        self.counters = SharedCounters(table, self.lock, counter_slots)
        self.counts = CountTable()
        """Counters that other nodes share."""
        self.health = HealthTable()
        """The health of upstreams' peers."""
        self.metrics = MetricMemory(LANES)
        self.cache = NodeCache(max(cache_bytes, LEAST))
        self.traces = TraceBoard()
        self.generation_word = self._words[_GENERATION : _GENERATION + 1]
        self.master_pid = os.getpid()
        self._bells: list[int] = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(LANES)]

    @property
    def generation(self) -> int:
        """The number of the node's configuration: it grows with each write made on this node or found of others."""
        return self._words[_GENERATION]

    @property
    def draining(self) -> bool:
        """Whether an operator has asked for `/status/ready` to fail."""
        return bool(self._words[_DRAINING])

    @draining.setter
    def draining(self, value: bool) -> None:
        self._words[_DRAINING] = int(value)

    @property
    def log_level(self) -> int:
        """The level of the error log (as in `logging`) that was set at run time, 0 when none was."""
        return self._words[_LEVEL]

    @log_level.setter
    def log_level(self, value: int) -> None:
        self._words[_LEVEL] = value

    @property
    def cache_epoch(self) -> int:
        """Grows when all workers have to forget their look-ups."""
        return self._words[_EPOCH]

    @property
    def store_reached(self) -> bool:
        """Whether a worker of this node has ever had the datastore's configuration."""
        return bool(self._words[_REACHED])

    def store_answers(self) -> None:
        """A worker has the datastore's configuration."""
        self._words[_REACHED] = 1

    def forget_caches(self) -> None:
        """Have all workers forget their look-ups."""
        self.lock.acquire()
        try:
            self._words[_EPOCH] += 1
        finally:
            self.lock.release()
        self.ring()

    def memory(self) -> tuple[int, int]:
        """Size of the mapping and the part in use by counters and lanes, in bytes."""
        used = self.counters.used() * _SLOT_WORDS * WORD + (_FIRST_LANE + LANES * LANE_WORDS) * WORD
        return len(self._map), used

    def published(self) -> None:
        """A write has been committed: from now on no worker may answer with the configuration before it."""
        self.lock.acquire()
        try:
            self._words[_GENERATION] += 1
        finally:
            self.lock.release()
        self.ring()

    def found(self, event: int) -> int:
        """A worker is about to apply what other nodes wrote, up to this event: the others must not answer without it.

        Returns the generation that has begun with it; 0 when another worker has found the same event already.
        """
        with self.lock:
            if self._words[_NEWEST] == event:
                return 0
            self._words[_NEWEST] = event
            self._words[_GENERATION] += 1
            begun = self._words[_GENERATION]
        self.ring()
        return begun

    @property
    def looks(self) -> int:
        """How often all workers were asked to look at the store, without any request having to wait for it."""
        return self._words[_LOOKS]

    def ask_to_look(self) -> int:
        """Have all workers look at the store; the number of this look."""
        with self.lock:
            self._words[_LOOKS] += 1
            asked = self._words[_LOOKS]
        self.ring()
        return asked

    def looked(self, number: int) -> bool:
        """Whether all workers that serve have looked, this time or later."""
        return all(lane[LOOKED] >= number for lane in self.lanes() if lane[PID] > 0 and lane[SERVING])

    def ring(self) -> None:
        """Wake all workers."""
        for lane in self.lanes():
            if lane[PID]:
                try:
                    os.eventfd_write(self._bells[lane.index], 1)
                except BlockingIOError:
                    continue  # a full bell rings already

    def bell(self, lane: Lane) -> int:
        """The descriptor that becomes readable when the worker of this lane is woken."""
        return self._bells[lane.index]

    def lanes(self) -> list[Lane]:
        """All lanes, used or not."""
        return [Lane(self._words, index) for index in range(LANES)]

    def take_lane(self) -> Lane:
        """A free lane; called in the master before it forks. Raises RuntimeError when there are too many workers."""
        for lane in self.lanes():
            if not lane[PID]:
                for word in range(LANE_WORDS):
                    lane[word] = 0
                lane[PID] = -1
                return lane
        raise RuntimeError(f"more than {LANES} workers at a time")

    def free_lane(self, lane: Lane, kept: Lane) -> None:
        """The worker of a lane has ended: its totals go to `kept`, so that no number is lost."""
        for word in TOTALS:
            kept[word] += lane[word]
        for word in range(LANE_WORDS):
            lane[word] = 0

    def workers(self) -> list[int]:
        """Process ids of the workers that serve, sorted."""
        return sorted(lane[PID] for lane in self.lanes() if lane[PID] > 0 and lane[SERVING])

    def total(self, word: int) -> int:
        """The sum of one word over all lanes."""
        return sum(lane[word] for lane in self.lanes())
