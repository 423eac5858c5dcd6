"""The one way to run blocking code: the hub's thread pool, with a bound on how much may wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import gevent

from kong_gevent.errors import Overloaded

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MAX_WAITING = 1000
"""Jobs that may wait for a thread; one more is refused rather than queued without bound."""


class _Count:
    """Jobs of this process that wait or run."""

    waiting = 0


def offload(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `function(*args)` in a native thread and return its result; other greenlets go on meanwhile.

    Raises `Overloaded` when more than `MAX_WAITING` jobs wait, else whatever the function raises.
    """
    if _Count.waiting >= MAX_WAITING:
        raise Overloaded(f"more than {MAX_WAITING} blocking jobs are waiting for a thread")
    _Count.waiting += 1
    try:
        result: T = gevent.get_hub().threadpool.apply(function, args)
    finally:
        _Count.waiting -= 1
    return result
