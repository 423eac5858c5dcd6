"""Long work in a process that serves requests: it lets other greenlets have their turn now and then."""

from __future__ import annotations

from time import monotonic

import gevent

SLICE = 0.004
"""Seconds of work after which the others get their turn."""


class Pacer:
    """Call it between two small pieces of work. Its argument, a number of things that were done, may be anything."""

    def __init__(self) -> None:
        self._until = monotonic() + SLICE

    def __call__(self, count: int = 1) -> None:
        if monotonic() > self._until:
            gevent.sleep(0)
            self._until = monotonic() + SLICE
