"""A lock between the processes of a node, in memory that they share."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from collections.abc import Callable
from time import monotonic

PATIENCE = 0.05
"""Seconds to wait for the lock before looking whether its holder is still alive."""
HOLDER_UNKNOWN = 1.0
"""Seconds after which a lock that is taken, but by nobody known, counts as abandoned."""


class SharedLock:
    """A lock between processes that survives the death of its holder; held for microseconds, never across a wait."""

    def __init__(self, words: memoryview, holder: int) -> None:
        semaphore = multiprocessing.get_context("fork").BoundedSemaphore(1)
        self._take: Callable[..., bool] = semaphore.acquire
        self._free = semaphore.release
        self._semaphore = semaphore
        self._words = words
        self._holder = holder
        self._pid = 0
        self._takeover = os.memfd_create("kong-gevent-lock")

    def acquire(self) -> None:
        """Take the lock, if need be from a dead process."""
        if not self._take(False):
            self._wait()
        self._words[self._holder] = self._pid or self._learn_pid()

    def release(self) -> None:
        """Give the lock back, if it has not been taken over: one that was stopped for long counts as dead."""
        if self._words[self._holder] == self._pid:
            self._words[self._holder] = 0
            try:
                self._free()
            except ValueError:
                pass  # the one that took over has given it back

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _learn_pid(self) -> int:
        self._pid = os.getpid()
        return self._pid

    def forked(self) -> None:
        """Forget the parent's process id; call it in a new worker."""
        self._pid = 0

    def _wait(self) -> None:
        began = monotonic()
        while not self._take(True, PATIENCE):
            holder = self._words[self._holder]
            abandoned = not process_lives(holder) if holder else monotonic() - began > HOLDER_UNKNOWN
            if abandoned and self._take_over(holder):
                return

    def _take_over(self, holder: int) -> bool:
        """Become the holder in place of a dead one; only one waiter may do so."""
        fcntl.lockf(self._takeover, fcntl.LOCK_EX)
        try:
            if self._words[self._holder] != holder:
                return False
            self._words[self._holder] = self._pid or self._learn_pid()
            return True
        finally:
            fcntl.lockf(self._takeover, fcntl.LOCK_UN)


def process_lives(pid: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
