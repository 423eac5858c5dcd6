"""How many look-ups may ask the datastore at once, and how quickly they are refused while it is known to be away."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent import getcurrent
from gevent.lock import BoundedSemaphore

from kong_gevent.errors import Overloaded, StoreUnavailable

WIDTH = 500
"""Look-ups that ask at once; more wait. Those of one kind take half of the places at most, so that a kind which asks
something else than the store, and waits for it, keeps nobody else out."""
PATIENCE = 2.0
"""Seconds that a look-up waits for its turn before it is refused."""
PAUSE = 0.25
"""Seconds between two look-ups that try a store that was away."""


class _Away:
    """A kind of look-up that the store does not answer at present."""

    __slots__ = ("error", "next_try")

    def __init__(self, error: StoreUnavailable) -> None:
        self.error = error
        self.next_try = monotonic() + PAUSE


class Gate:
    """Runs look-ups. After one has found the store away, those of the same kind fail at once, except one now and then.

    One that fails while others of its kind succeed says nothing about the store, and closes nothing.

    Without it a store that accepts questions and answers none would hold every request that misses the cache for the
    store's whole timeout, again and again. Only `StoreUnavailable` closes the gate, so a look-up that asks something
    else than the store is never judged by the store's state.
    """

    def __init__(self, width: int = WIDTH) -> None:
        self._places = BoundedSemaphore(width)
        self._share = max(1, width // 2)
        self._shares: dict[str, BoundedSemaphore] = {}
        self._inside: set[Any] = set()
        self._away: dict[str, _Away] = {}
        self._answered: dict[str, float] = {}

    def run(self, kind: str, load: Callable[[], Any]) -> Any:
        """The result of `load`. Raises `StoreUnavailable` or `Overloaded` without calling it, else what it raises."""
        me = getcurrent()
        if me in self._inside:  # a look-up within a look-up has its place already
            return load()
        self._refuse(kind)
        share = self._shares.get(kind)
        if share is None:
            share = self._shares[kind] = BoundedSemaphore(self._share)
        if not share.acquire(timeout=PATIENCE):
            raise Overloaded(f"{self._share} look-ups of {kind} wait for their answers already")
        try:
            return self._ask(me, kind, load)
        finally:
            share.release()

    def _ask(self, me: Any, kind: str, load: Callable[[], Any]) -> Any:
        """The result of `load`, with a place of its own."""
        if not self._places.acquire(timeout=PATIENCE):
            raise Overloaded(f"{WIDTH} look-ups wait for their answers already")
        self._inside.add(me)
        began = monotonic()
        try:
            value = load()
        except StoreUnavailable as error:
            if self._answered.get(kind, 0.0) < began:
                self._away[kind] = _Away(error)
            raise
        finally:
            self._inside.discard(me)
            self._places.release()
        self._answered[kind] = monotonic()
        self._away.pop(kind, None)
        return value

    def open(self) -> None:
        """The store has answered somebody: look-ups may ask again."""
        self._away.clear()

    def _refuse(self, kind: str) -> None:
        away = self._away.get(kind)
        if away is None:
            return
        now = monotonic()
        if now < away.next_try:
            raise StoreUnavailable(str(away.error))
        away.next_try = now + PAUSE  # this one tries; those that come meanwhile are refused
