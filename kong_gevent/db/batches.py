"""Groups of things that go together, bounded in number and in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def grouped(items: Iterable[T], size_of: Callable[[T], int], most: int, most_bytes: int) -> Iterator[list[T]]:
    """Runs of at most `most` items with `most_bytes` together; one that is larger than that is a run of its own."""
    run: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if run and (len(run) == most or total + size > most_bytes):
            yield run
            run, total = [], 0
        run.append(item)
        total += size
    if run:
        yield run
