"""Long work beside requests in their process: other greenlets have their turn. See `turns` for processes of its own."""

from __future__ import annotations

from time import monotonic

import gevent

SLICE = REST = 0.001
"""Seconds of work after which the others get their turn, and of that turn."""


class Pacer:
    """Call it between two small pieces of work. Its argument, a number of things that were done, may be anything.

    `seconds` of work are followed by a `rest`. Without one, the hub looks for what has come over the network only every
    5 ms or so, whatever the slice: it first goes on with all that is ready to run.
    """

    def __init__(self, seconds: float = SLICE, rest: float = REST) -> None:
        self._slice = seconds
        self._rest = rest
        self._until = monotonic() + seconds

    def __call__(self, count: int = 1) -> None:
        if monotonic() > self._until:
            gevent.sleep(self._rest)
            self._until = monotonic() + self._slice
