"""What was told together with events, so that a reader who comes back with one of them is recognised."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")
REMEMBERED = 1000


class Told(Generic[T]):
    """By the id of the last event of an answer: what was known of the history up to there. Only the latest are kept.

    When that is not what the store says now, another history has taken the place of the one that was told.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, T] = OrderedDict()

    def get(self, event: int) -> T | None:
        """What was known; None when that event was not told as a last one, or long ago."""
        return self._known.get(event)

    def remember(self, event: int, known: T) -> None:
        """An answer ended with this event."""
        self._known[event] = known
        self._known.move_to_end(event)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
