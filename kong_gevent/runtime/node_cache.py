"""One cache for all workers of a node, in memory that is mapped before they are forked; bounded in bytes.

Strategy: entries are written one behind the other into a ring, so the oldest make room and nothing is moved or freed.
Positions only grow; an entry is there as long as the writer has not come round to it. A table of fixed size finds
entries by key. Memory rather than files: an entry that is served often costs no system call, none is lost with a
worker, and pages that were never written take no room. Everything that changes does so under one lock.
"""

from __future__ import annotations

import mmap
from time import monotonic, time
from typing import Any

import gevent

from kong_gevent.runtime.lock import SharedLock

CAPACITY = 128 << 20
"""Bytes of all entries of a node; `mem_cache_size`."""
LEAST = 1 << 20
"""Fewer bytes would hold hardly any answer."""
SLOT_BYTES = 2048
"""There is a slot for each so many bytes of the capacity: the average size of entries that fill it."""
PROBES = 8
LARGEST = 16
"""An entry may take one part in so many of the capacity."""
CLAIMS = 1 << 10
LONGEST = 1 << 40
"""Seconds for which an entry is kept at most: more would not fit into a word of ms."""
POLL, SELDOM = 0.005, 0.05
"""Seconds between two looks for what another request is about to put in: at first, and at most. There may be many who
look, so they do it more seldom the longer it takes."""
WORD = 8
_HOLDER, _HEAD, _FLOOR, _CLEARED, _FIRST = 0, 1, 2, 3, 4
_CODE, _POS, _LENGTH, _EXPIRES, _SLOT_WORDS = 0, 1, 2, 3, 4
MAX_KEPT = 1024
KEPT_BYTES = 8 << 20
"""Entries, and their bytes, that a worker keeps by itself, to spare the copy."""


class NodeCache:
    """See `kong_gevent.pdk.kit.NodeCache`. Keys and entries are octets."""

    def __init__(self, capacity: int = CAPACITY, slots: int = 0) -> None:
        slots = slots or 1 << (capacity // SLOT_BYTES - 1).bit_length()
        words = _FIRST + slots * _SLOT_WORDS + CLAIMS * 3
        self._map = mmap.mmap(-1, words * WORD + capacity)
        whole = memoryview(self._map)
        self._words = whole[: words * WORD].cast("q")
        self._claims = self._words[_FIRST + slots * _SLOT_WORDS :]
        self._deleted = self._claims[CLAIMS * 2 :]
        self._data = whole[words * WORD :]
        self._capacity = capacity
        self._mask = slots - 1
        self._kept: dict[bytes, tuple[int, int, bytes]] = {}
        self._kept_bytes = 0
        self.lock = SharedLock(self._words, _HOLDER)

    def _code(self, key: bytes) -> int:
        return hash((key, "entry")) or 1

    def _slot(self, code: int, step: int) -> int:
        return _FIRST + ((code + step) & self._mask) * _SLOT_WORDS

    def _is_there(self, slot: int) -> bool:
        words = self._words
        at = words[slot + _POS]
        return at >= words[_FLOOR] and words[_HEAD] - at <= self._capacity and words[slot + _EXPIRES] > time() * 1000

    def get(self, key: bytes) -> bytes | None:
        """See `NodeCache.get`."""
        kept = self._kept.get(key)
        if kept is not None:
            slot, at, entry = kept
            if self._words[slot + _POS] == at and self._is_there(slot):
                return entry
            del self._kept[key]
            self._kept_bytes -= len(entry)
        code = self._code(key)
        with self.lock:
            slot = self._find(code)
            if slot < 0:
                return None
            at = self._words[slot + _POS]
            start = at % self._capacity
            found = bytes(self._data[start : start + self._words[slot + _LENGTH]])
        size = len(key)
        if found[:size] != key:
            return None
        entry = found[size:]
        self._keep(key, slot, at, entry)
        return entry

    def _keep(self, key: bytes, slot: int, at: int, entry: bytes) -> None:
        if len(entry) * 16 > KEPT_BYTES:
            return
        if len(self._kept) >= MAX_KEPT or self._kept_bytes + len(entry) > KEPT_BYTES:
            self._kept.clear()
            self._kept_bytes = 0
        self._kept[key] = (slot, at, entry)
        self._kept_bytes += len(entry)

    def _find(self, code: int) -> int:
        for step in range(PROBES):
            slot = self._slot(code, step)
            if self._words[slot + _CODE] == code and self._is_there(slot):
                return slot
        return -1

    def purges(self, key: bytes) -> int:
        """See `NodeCache.purges`."""
        return self._purges(self._code(key))

    def _purges(self, code: int) -> int:
        return self._words[_CLEARED] + self._deleted[code & (CLAIMS - 1)]

    def put(self, key: bytes, entry: bytes, seconds: float, purges: int | None = None) -> bool:
        """See `NodeCache.put`."""
        size = len(key) + len(entry)
        if size > self._capacity // LARGEST:
            return False
        words, code = self._words, self._code(key)
        with self.lock:
            if purges is not None and purges != self._purges(code):
                return False
            at = words[_HEAD] or self._capacity  # never 0, which is no place
            if at % self._capacity + size > self._capacity:
                at += self._capacity - at % self._capacity  # the rest of the round stays empty
            start = at % self._capacity
            words[_HEAD] = at + size  # first, so that nobody takes what is overwritten now for an entry
            self._data[start : start + len(key)] = key
            self._data[start + len(key) : start + size] = entry
            slot = self._room(code)
            words[slot + _POS] = 0
            words[slot + _CODE] = code
            words[slot + _LENGTH] = size
            words[slot + _EXPIRES] = int((time() + min(seconds, LONGEST)) * 1000)
            words[slot + _POS] = at
        return True

    def _room(self, code: int) -> int:
        """The slot of a code, else a free one, else that of the oldest entry."""
        slots = [self._slot(code, step) for step in range(PROBES)]
        for slot in slots:
            if self._words[slot + _CODE] == code:
                return slot
        return min(slots, key=lambda slot: self._words[slot + _POS] if self._is_there(slot) else 0)

    def delete(self, key: bytes) -> bool:
        """See `NodeCache.delete`."""
        code = self._code(key)
        with self.lock:
            self._deleted[code & (CLAIMS - 1)] += 1
            slot = self._find(code)
            if slot >= 0:
                self._words[slot + _POS] = 0
            return slot >= 0

    def clear(self) -> None:
        """See `NodeCache.clear`."""
        with self.lock:
            self._words[_HEAD] = max(self._words[_HEAD], self._capacity)
            self._words[_FLOOR] = self._words[_HEAD]
            self._words[_CLEARED] += 1

    # --- one of many -------------------------------------------------------------------------------------------------

    def claim(self, key: bytes, seconds: float) -> bool:
        """See `NodeCache.claim`."""
        code = self._code(key)
        at = (code & (CLAIMS - 1)) * 2
        began = monotonic()
        while True:
            now = int(monotonic() * 1000)
            with self.lock:
                held = self._claims[at]
                if held != code and self._claims[at + 1] > now:
                    return True  # a place that other keys need as well: go without
                if not held or self._claims[at + 1] <= now:
                    self._claims[at] = code
                    self._claims[at + 1] = now + int(seconds * 1000)
                    return True
            waited = monotonic() - began
            if waited >= seconds:
                return True
            gevent.sleep(min(SELDOM, max(POLL, waited / 8)))
            if self._claims[at] != code:
                return False

    def release(self, key: bytes) -> None:
        """See `NodeCache.release`."""
        code = self._code(key)
        at = (code & (CLAIMS - 1)) * 2
        with self.lock:
            if self._claims[at] == code:
                self._claims[at] = 0
                self._claims[at + 1] = 0

    def usage(self) -> tuple[int, int]:
        """Capacity and the part written so far, in bytes."""
        return self._capacity, min(self._capacity, max(0, self._words[_HEAD] - self._capacity))

    def forked(self) -> Any:
        """Forget the parent's process id; call it in a new worker."""
        self.lock.forked()
