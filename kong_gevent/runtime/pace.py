"""Going through many things without holding up the requests that are served meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import TypeVar

import gevent
from gevent.event import Event

T = TypeVar("T")
SLICE = 0.0005
"""Seconds of work after which other greenlets get their turn."""
REST = 0.001
"""Seconds of a turn of theirs in which they notice nothing of the work: see `kong_gevent.pacing`."""
PART = 100
"""Items that are read ahead at a time."""
DEPTH = 20
"""Parts that may wait to be used."""


def paced(items: Iterable[T], rest: Callable[[], float] = lambda: 0) -> Iterator[T]:
    """The items; whoever takes them lets other greenlets run now and then, for `rest` seconds at least."""
    until = monotonic() + SLICE
    for item in items:
        yield item
        if monotonic() > until:
            gevent.sleep(rest())
            until = monotonic() + SLICE


class ReadAhead(Iterator[T]):
    """Iterates over what another greenlet reads in advance, so that reading and using overlap.

    Reading begins at once and stops when enough waits to be used. Raises what reading raised, where it raised it.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._parts: deque[list[T]] = deque()
        self._part: Iterator[T] = iter(())
        self._error: BaseException | None = None
        self._ended = False
        self._closed = False
        self._filled = Event()
        self._taken = Event()
        gevent.spawn(self._read)

    def __next__(self) -> T:
        while True:
            for item in self._part:
                return item
            while not self._parts:
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    raise StopIteration
                self._filled.clear()
                self._filled.wait()
            self._part = iter(self._parts.popleft())
            self._taken.set()

    def close(self) -> None:
        """Nothing more is wanted; the page that is being read is read to its end, as stores like it."""
        self._closed = True
        self._parts.clear()
        self._taken.set()

    def _read(self) -> None:
        try:
            while not self._closed and (part := list(islice(self._items, PART))):
                self._parts.append(part)
                self._filled.set()
                while len(self._parts) >= DEPTH and not self._closed:
                    self._taken.clear()
                    self._taken.wait()
                gevent.sleep(0)
        except BaseException as error:  # raised where the items are used, which must not seem to have come to an end
            self._error = error
        finally:
            self._ended = True
            self._filled.set()
