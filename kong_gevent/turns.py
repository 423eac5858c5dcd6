"""Short turns on a core for a process of its own that works beside those who serve requests.

Who shares a core with others is given it for several ms at a time, whatever its niceness, and whoever serves requests
there waits for so long. So the main thread's work is cut into turns without a word of it where it is done, imports of
modules as well; threads that work through many things, with the locks of stores in their hands, say where they may
rest. Nothing but the standard library is imported here, because turns begin with the process.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

T = TypeVar("T")
THREAD_WORK = 0.0005
"""Seconds on the core after which a thread rests. Others wait for the lock that it holds, so it is longer."""
THREAD_REST = 0.0003


class ShortTurns:
    """Makes the main thread leave its core after each `work` seconds on it, for `rest` seconds. A context manager."""

    under_way: ClassVar[ShortTurns | None] = None
    """Those of this process."""

    def __init__(self, work: float = 0.00025, rest: float = 0.00025) -> None:
        self._work = work
        self._rest = rest
        self._used = time.thread_time()
        patched = sys.modules.get("gevent.monkey")
        self._sleep = patched.get_original("time", "sleep") if patched else time.sleep
        self._over = False
        self.turns = 0
        """How many have ended."""

    def begin(self) -> Self:
        """From now on, in the main thread."""
        self._before = signal.signal(signal.SIGALRM, self._look)
        ShortTurns.under_way = self
        signal.setitimer(signal.ITIMER_REAL, self._work)
        return self

    def end(self) -> None:
        """No more of them."""
        self._over = True  # a signal that has come, and waits for its handler, must not set the timer once more
        ShortTurns.under_way = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end()

    def _look(self, *_: Any) -> None:
        if self._over:
            return
        if time.thread_time() - self._used >= self._work:
            self.turns += 1
            self._sleep(self._rest)
            self._used = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, self._work)

    def rests_between(self, items: Iterable[T]) -> Iterator[T]:
        """The items, with a rest of the calling thread now and then."""
        used = time.thread_time()
        for item in items:
            yield item
            if time.thread_time() - used >= THREAD_WORK:
                self._sleep(THREAD_REST)
                used = time.thread_time()


def with_rests(items: Iterable[T]) -> Iterable[T]:
    """The items, for a thread that works through them; where the process is to work in short turns, it does."""
    turns = ShortTurns.under_way
    return items if turns is None else turns.rests_between(items)
