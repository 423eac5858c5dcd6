"""The lock between processes that change a schema: it ends by itself when its holder dies, and not while it works."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import DatabaseError, MigrationError, Overloaded

if TYPE_CHECKING:
    from kong_gevent.db.migrations.progress import Progress
    from kong_gevent.db.strategies.base import Strategy

LOCK, LOCK_SECONDS = "migrations", 30.0
_RENEWALS = 5
"""How often a lock is renewed within its life."""
_PAUSES = (0.05, 0.1, 0.2, 0.5)
"""Seconds between tries to take it: each try is a conditional write."""


class LockHeld(MigrationError):
    """Another node is performing database changes."""


class StoreLock:
    """The lock of the migrations in a store. A greenlet renews it while it is held, however long a step takes."""

    def __init__(self, strategy: Strategy, seconds: float) -> None:
        self._strategy = strategy
        self._seconds = seconds
        self._owner = str(uuid.uuid4())
        self._until = 0.0
        self._renewer: gevent.Greenlet | None = None

    def take(self, wait: float, progress: Progress) -> None:
        """Take the lock within `wait` seconds; `progress` hears how long it still waits. Raises `LockHeld`."""
        end = time.monotonic() + wait
        attempt = 0
        progress.waiting(wait)  # also while the store itself lets this process wait
        while not self._renew():
            left = end - time.monotonic()
            if left <= 0:
                raise LockHeld("aborted: another node is performing database changes")
            gevent.sleep(min(left, _PAUSES[min(attempt, len(_PAUSES) - 1)]))
            attempt += 1
        self._renewer = gevent.spawn(self._keep)

    def require(self) -> None:
        """Raises `LockHeld` when the lock was lost, for instance because this process stood still for too long."""
        if not self._renew():
            raise LockHeld("aborted: another node took over the database changes")

    def stop(self) -> None:
        """Renew no more; the lock ends by itself."""
        if self._renewer is not None:
            self._renewer.kill()
            self._renewer = None

    def release(self) -> None:
        """Give the lock back."""
        self.stop()
        with suppress(DatabaseError, Overloaded):  # it ends by itself, and what was done is done
            self._strategy.unlock(LOCK, self._owner)

    def _renew(self) -> bool:
        asked = time.monotonic()
        if not self._strategy.lock(LOCK, self._owner, self._seconds):
            return False
        self._until = asked + self._seconds
        return True

    def _keep(self) -> None:
        pause = self._seconds / _RENEWALS
        while True:
            gevent.sleep(pause)
            try:
                if not self._renew():
                    return  # lost; `require` says so before the next step
            except (DatabaseError, Overloaded):
                # A store may refuse other writers during a step. While the lock lives, try again sooner.
                pause = max(0.1, min(self._until - time.monotonic(), self._seconds / _RENEWALS) / 2)
                continue
            pause = self._seconds / _RENEWALS
