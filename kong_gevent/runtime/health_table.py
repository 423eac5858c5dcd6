"""The health of all peers of a node, in memory that its workers share.

A peer's state is one word; whoever changes it does so under a lock, and raises the epoch when somebody's availability
changes, so that every worker knows at its next pick that it has to look again.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable
from time import monotonic

from kong_gevent.balancer import health
from kong_gevent.runtime.lock import SharedLock

SLOTS = 1 << 15
"""Peers that a node can check; only what is used takes memory."""
PROBES = 64
KEPT = 300
"""Seconds for which the health of a peer is remembered that nobody has any more."""
_HOLDER, _EPOCH, _FIRST = 0, 1, 2
_CODE, _STATE, _SEEN, _SLOT_WORDS = 0, 1, 2, 3
_WORD = 8


class HealthTable:
    """States by peer. Made before the workers are forked, which inherit how keys are hashed."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._map = mmap.mmap(-1, (_FIRST + slots * _SLOT_WORDS) * _WORD)
        self._words = memoryview(self._map).cast("q")
        self._mask = slots - 1
        self._lock = SharedLock(self._words, _HOLDER)
        self.epoch = self._words[_EPOCH : _EPOCH + 1]
        """One word that grows whenever a peer becomes available or ceases to be."""

    def forked(self) -> None:
        """Called in a new worker."""
        self._lock.forked()

    def claim(self, key: Hashable) -> int | None:
        """Where the state of a peer is: what is known of it, or healthy; None when there is no room."""
        code = hash((key, "health")) or 1
        now = int(monotonic())
        words = self._words
        with self._lock:
            place = self._find(code, now)
            if place is None:
                return None
            if words[place + _CODE] != code or now - words[place + _SEEN] > KEPT:
                words[place + _CODE] = code
                words[place + _STATE] = health.HEALTHY
            words[place + _SEEN] = now
        return place

    def _find(self, code: int, now: int) -> int | None:
        """The key's slot, else a free one, else one that is not used any more."""
        words = self._words
        spare = None
        for step in range(PROBES):
            place = _FIRST + ((code + step) & self._mask) * _SLOT_WORDS
            held = words[place + _CODE]
            if held == code:
                return place
            if not held:
                return place if spare is None else spare
            if spare is None and now - words[place + _SEEN] > KEPT:
                spare = place
        return spare

    def touch(self, place: int) -> None:
        """Somebody has this peer still."""
        self._words[place + _SEEN] = int(monotonic())

    def state(self, place: int) -> int:
        """A peer's state, see `kong_gevent.balancer.health`."""
        return self._words[place + _STATE]

    def report(self, place: int, report: int, limit: int) -> bool | None:
        """Count a report; whether the peer is available from now on, None when nothing changed in this."""
        words = self._words
        at = place + _STATE
        if health.after(words[at], report, limit) == words[at]:
            return None  # nearly always: a success of one who is healthy
        with self._lock:
            return self._change(at, health.after(words[at], report, limit))

    def put(self, place: int, available: bool) -> bool | None:
        """Set a peer's state, with all counters at zero; see `report`."""
        with self._lock:
            return self._change(place + _STATE, health.HEALTHY if available else health.UNHEALTHY)

    def _change(self, at: int, state: int) -> bool | None:
        words = self._words
        available = health.is_available(state)
        turned = health.is_available(words[at]) != available
        words[at] = state
        if not turned:
            return None
        words[_EPOCH] += 1
        return available
