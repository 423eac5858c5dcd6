"""Long work beside requests: in their process it lets other greenlets have their turn, in its own one their core."""

from __future__ import annotations

import signal
from time import monotonic, thread_time
from types import TracebackType
from typing import Any, Self

import gevent
from gevent import monkey

SLICE = 0.004
"""Seconds of work after which the others get their turn."""


class Pacer:
    """Call it between two small pieces of work. Its argument, a number of things that were done, may be anything.

    `seconds` of work are followed by a `rest`. Without one, the hub looks for what has come over the network only every
    5 ms or so, whatever the slice: it first goes on with all that is ready to run.
    """

    def __init__(self, seconds: float = SLICE, rest: float = 0) -> None:
        self._slice = seconds
        self._rest = rest
        self._until = monotonic() + seconds

    def __call__(self, count: int = 1) -> None:
        if monotonic() > self._until:
            gevent.sleep(self._rest)
            self._until = monotonic() + self._slice


class ShortTurns:
    """Makes the main thread of a process of its own leave its core after each `work` seconds on it, for `rest` seconds.

    Who shares a core with others is given it for several ms at a time, whatever its niceness, and whoever serves
    requests there waits for so long. Everything is cut into such turns, imports of modules as well, without a word of
    it where the work is done. Other threads are not: they hold the locks of stores. A context manager.
    """

    def __init__(self, work: float = 0.0005, rest: float = 0.0005) -> None:
        self._work = work
        self._rest = rest
        self._used = thread_time()
        self._sleep = monkey.get_original("time", "sleep")
        self._over = False
        self.turns = 0
        """How many have ended."""

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self._work)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over = True  # a signal that has come, and waits for its handler, must not set the timer once more
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _look(self, *_: Any) -> None:
        if self._over:
            return
        if thread_time() - self._used >= self._work:
            self.turns += 1
            self._sleep(self._rest)
            self._used = thread_time()
        signal.setitimer(signal.ITIMER_REAL, self._work)
