"""What the workers of a node share: memory mapped before they are forked, a lock, and a wake-up line for each.

Strategy: plain 64-bit words in one anonymous mapping. Each worker writes statistics in a lane of its own, so they need
no lock. Counters that must be exact (rate limits) and the configuration's generation number change under one lock,
which a waiting worker can take over from a process that died while holding it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from struct import Struct
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
PROBES = 192
"""Slots that are looked through for a key. Windows of one owner take neighbouring ones, so full stretches are long."""
_SLOT_WORDS = 4
"""Code, value, expiry (s since 1970), and the owner's number where it is a window."""
TOGETHER = 8
"""Windows of an owner that stand together; there are seldom more, and those stand anywhere."""
_two_slots = Struct(f"={2 * _SLOT_WORDS}q").unpack_from
MAX_KNOWN = 8192
"""Counters whose places a worker remembers."""


def _code(key: Any) -> int:
    """A key's number in the table, never 0; hashed within a tuple, since small integers are their own hash."""
    return hash((key, "counter")) or 1


class SharedCounters:
    """Counters by key in a fixed open-addressed table; every change is made under the lock, so sums are exact.

    Keys are hashed with the interpreter's keyed hash, which all workers inherit from their parent. When all slots that
    a key may use hold live counters, the one that expires first makes room.

    The windows of an owner are at home one behind the other, from a place on that follows from the owner alone: two of
    them are one line of the processor's cache. So no owner has to be remembered, and many cost what few do. One that
    cannot be at home, since another owner is there, is looked for as in any such table.
    """

    def __init__(self, words: memoryview, lock: SharedLock, slots: int) -> None:
        """`words`: room for `slots` (a power of two) and PROBES more."""
        self._words = words
        self._octets = words.cast("B")
        self._lock = lock
        self._mask = slots - 1
        self._even = self._mask - 1
        self._places: dict[int, int] = {}

    def consume(self, owner: Any, windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """See `kong_gevent.pdk.kit.Counters.consume`."""
        number = hash((owner,))
        place = (number & self._even) * _SLOT_WORDS
        now = time()
        lock = self._lock
        lock.acquire()
        try:
            if len(windows) == 2:  # the usual case without a loop: this is on the way of most requests
                one, other = windows
                code, value, ends, _, code2, value2, ends2, _ = _two_slots(self._octets, place * WORD)
                if code == number ^ hash(one[0]) and code2 == number ^ hash(other[0]) and ends > now < ends2:
                    if value < one[1] and value2 < other[1]:
                        words = self._words
                        words[place + 1] = value + 1
                        words[place + _SLOT_WORDS + 1] = value2 + 1
                        return True, [value, value2]
                    return False, [value, value2]
            return self._consume_each(number, windows, now)
        finally:
            lock.release()

    def _consume_each(self, number: int, windows: Sequence[tuple[Any, ...]], now: float) -> tuple[bool, list[int]]:
        """`consume` (under its lock) for any number of windows, at home or elsewhere, or not there yet."""
        words = self._words
        start = number & self._even
        places: list[int] = []
        for at, window in enumerate(windows):
            code = number ^ hash(window[0])
            if at >= TOGETHER:
                start, at = code & self._mask, 0
            place = home = (start + at) * _SLOT_WORDS
            if words[home] != code or words[home + 2] <= now:
                place = self._place(code, int(now), window[2], start, places)
                words[place + 3] = number
                if place != home and words[home + 3] == number and home not in places:
                    self._swap(place, home)
                    place = home
            places.append(place)
        values = [words[place + 1] for place in places]
        for value, window in zip(values, windows, strict=True):
            if value >= window[1]:
                return False, values
        for place in places:
            words[place + 1] += 1
        return True, values

    def _swap(self, place: int, home: int) -> None:
        """Let a window take its home from another one of its owner, mostly one that is over: neither is lost."""
        octets = self._octets
        here, there = (slice(at * WORD, (at + _SLOT_WORDS) * WORD) for at in (home, place))
        octets[here], octets[there] = bytes(octets[there]), bytes(octets[here])

    def add(self, key: Any, amount: int, expires: float) -> int:
        """See `kong_gevent.pdk.kit.Counters.add`."""
        lock = self._lock
        lock.acquire()
        try:
            code = _code(key)
            place = self._place(code, int(time()), expires, code & self._mask)
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
        start = (code & self._mask) * _SLOT_WORDS
        for place in range(start, start + PROBES * _SLOT_WORDS, _SLOT_WORDS):
            held = words[place]
            if held == code:
                return place
            if not held:
                return -1
        return -1

    def _place(self, code: int, now: int, expires: float, start: int, taken: Sequence[int] = ()) -> int:
        """The first word of a code's slot, looked for from slot `start` on, made or renewed when need be.

        What stands in the `taken` ones does not make room.
        """
        words = self._words
        place = self._places.get(code, -1)
        if place < 0 or words[place] != code:
            place = self._search(code, now, start * _SLOT_WORDS, taken)
            if len(self._places) >= MAX_KNOWN:
                self._places.clear()
            self._places[code] = place
        if words[place] != code or words[place + 2] <= now:
            words[place] = code
            words[place + 1] = 0
            words[place + 2] = int(expires) + 1
            words[place + 3] = 0
        return place

    def _search(self, code: int, now: int, start: int, taken: Sequence[int]) -> int:
        words = self._words
        spare, soonest = -1, -1
        for place in range(start, start + PROBES * _SLOT_WORDS, _SLOT_WORDS):
            held = words[place]
            if held == code:
                return place
            if not held:
                return place if spare < 0 else spare
            if place in taken:
                continue
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
        size = (_FIRST_LANE + LANES * LANE_WORDS + (counter_slots + PROBES) * _SLOT_WORDS) * WORD
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
