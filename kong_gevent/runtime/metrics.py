"""Numbers that a node's workers count together and anybody may read: exact over workers, and over their deaths.

Strategy: memory that is made before the workers are forked, one lane per worker, written by that worker alone, so
counting takes no lock. A lane is a list of entries that only grows: a name with its labels, then its 64-bit numbers. A
worker that takes the lane of one that has ended goes on with its entries. Who reads adds up all lanes.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

import gevent
import orjson

from kong_gevent.pdk.kit import Cell, Observer

LANE_BYTES = 64 << 20
"""Room of a worker; only what is used of it takes memory. An entry: name, labels, and 8 octets for each number."""
WORD = 8
_USED, _FIRST = 0, 1
PAUSE_AFTER = 250
"""Entries that are read or written out before other greenlets get a turn."""
Series = tuple[str, ...]
"""A metric's name and the values of its labels."""


class Full(Exception):
    """A lane has no room for another entry."""


class MetricMemory:
    """The lanes; made in the master before the first fork."""

    def __init__(self, lanes: int, lane_bytes: int = LANE_BYTES) -> None:
        self._lane_bytes = lane_bytes
        self._file = os.memfd_create("kong-gevent-metrics")
        os.ftruncate(self._file, lanes * lane_bytes)
        self._lanes = lanes

    def close(self) -> None:
        """Let go of the memory; what is mapped of it stays until nobody uses it."""
        os.close(self._file)

    def words(self, lane: int) -> memoryview:
        """A lane as 64-bit words."""
        return memoryview(mmap.mmap(self._file, self._lane_bytes, offset=lane * self._lane_bytes)).cast("q")

    def in_use(self) -> list[int]:
        """Lanes that have entries."""
        return [
            lane
            for lane in range(self._lanes)
            if any(os.pread(self._file, WORD, lane * self._lane_bytes + _USED * WORD))
        ]


def _entries(words: memoryview, start: int) -> Iterator[tuple[Series, int, int]]:
    """Entries from a word on: series, its first number's place, how many numbers there are."""
    at = start or _FIRST
    while at < _FIRST + words[_USED]:
        head = words[at]
        size, count = head >> 32, head & 0xFFFFFFFF
        name_words = -(-size // WORD)
        name = words[at + 1 : at + 1 + name_words].tobytes()[:size]
        at += 1 + name_words
        yield tuple(orjson.loads(name)), at, count
        at += count


class MetricLane:
    """What one worker counts."""

    def __init__(self, words: memoryview) -> None:
        self.words = words
        self._places = {series: at for series, at, _ in _entries(words, 0)}

    def place(self, series: Series, count: int) -> int:
        """Where the series' `count` numbers are; they are zero when it is new. Raises `Full`."""
        at = self._places.get(series)
        if at is None:
            at = self._places[series] = self._append(series, count)
        return at

    def _append(self, series: Series, count: int) -> int:
        words = self.words
        name = orjson.dumps(series)
        name_words = -(-len(name) // WORD)
        start = _FIRST + words[_USED]
        at = start + 1 + name_words
        if at + count > len(words):
            raise Full
        words[start] = len(name) << 32 | count
        words[start + 1 : at] = memoryview(name.ljust(name_words * WORD, b"\0")).cast("q")
        words[_USED] += 1 + name_words + count  # last, so that readers only ever see whole entries
        return at


class _Cell:
    """See `kong_gevent.pdk.kit.Cell`."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: memoryview, at: int) -> None:
        self._words = words
        self._at = at

    def add(self, amount: int = 1) -> None:
        """Count."""
        self._words[self._at] += amount


class _Observer:
    """See `kong_gevent.pdk.kit.Observer`: numbers in buckets, those beyond the last, then their sum in thousandths."""

    __slots__ = ("_at", "_bounds", "_sum", "_words")

    def __init__(self, words: memoryview, at: int, bounds: Sequence[float]) -> None:
        self._words = words
        self._at = at
        self._bounds = bounds
        self._sum = at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Take a value into account."""
        words = self._words
        words[self._at + bisect_left(self._bounds, value)] += 1
        words[self._sum] += int(value * 1000)


class _Family:
    """One metric: its name, help and type, and how its numbers are written."""

    def __init__(
        self, name: str, text: str, kind: str, labels: tuple[str, ...], bounds: tuple[float, ...] = ()
    ) -> None:
        self.name = name
        self.head = f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
        self.labels = labels
        self.bounds = bounds

    def write(self, series: Series, numbers: Sequence[int]) -> str:
        """The lines of one series."""
        labels = labels_text(self.labels, series[1:])
        if not self.bounds:
            return f"{self.name}{{{labels}}} {numbers[0]}\n" if labels else f"{self.name} {numbers[0]}\n"
        comma = "," if labels else ""
        lines = []
        total = 0
        for bound, number in zip((*map(_number, self.bounds), "+Inf"), numbers, strict=False):
            total += number
            lines.append(f'{self.name}_bucket{{{labels}{comma}le="{bound}"}} {total}\n')
        braces = f"{{{labels}}}" if labels else ""
        lines.append(f"{self.name}_count{braces} {total}\n{self.name}_sum{braces} {_number(numbers[-1] / 1000)}\n")
        return "".join(lines)


def labels_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`a="x",b="y"`, escaped as the text format wants it."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class WorkerMetrics:
    """See `kong_gevent.pdk.kit.Metrics`: one worker's door to the node's metrics."""

    def __init__(self, memory: MetricMemory, lane: int) -> None:
        self._memory = memory
        self._lane = MetricLane(memory.words(lane))
        self._families: dict[str, _Family] = {}
        self._gauges: list[tuple[_Family, Callable[[], Iterable[tuple[Sequence[str], float]]]]] = []
        self._read: dict[int, tuple[memoryview, int, list[tuple[Series, int, int]]]] = {}
        self._spare = memoryview(bytearray(4096)).cast("q")
        self._errors: Cell | None = None

    def counter(self, name: str, text: str, *labels: str) -> Callable[..., Cell]:
        """See `Metrics.counter`."""
        self._families[name] = _Family(name, text, "counter", labels)
        return lambda *values: _Cell(*self._place((name, *values), 1))

    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Callable[..., Observer]:
        """See `Metrics.histogram`."""
        self._families[name] = _Family(name, text, "histogram", labels, tuple(bounds))
        return lambda *values: _Observer(*self._place((name, *values), len(bounds) + 2), bounds)

    def gauge(
        self, name: str, text: str, labels: Sequence[str], collect: Callable[[], Iterable[tuple[Sequence[str], float]]]
    ) -> None:
        """See `Metrics.gauge`."""
        self._gauges.append((_Family(name, text, "gauge", tuple(labels)), collect))

    def count_errors(self, name: str, text: str) -> None:
        """See `Metrics.count_errors`."""
        self._errors = self.counter(name, text)()

    def _place(self, series: Series, count: int) -> tuple[memoryview, int]:
        try:
            return self._lane.words, self._lane.place(series, count)
        except Full:
            if self._errors is not None:
                self._errors.add()
            return self._spare, 0  # counted nowhere, which the number of errors tells

    def exposition(self) -> Iterator[str]:
        """See `Metrics.exposition`."""
        for family, collect in self._gauges:
            yield family.head
            for values, value in collect():
                labels = labels_text(family.labels, values)
                yield f"{family.name}{{{labels}}} {_number(value)}\n" if labels else f"{family.name} {_number(value)}\n"
        totals = self._totals()
        for family in self._families.values():
            found = totals.get(family.name)
            if not found:
                continue
            yield family.head
            for number, (series, numbers) in enumerate(found.items(), 1):
                yield family.write(series, numbers)
                if not number % PAUSE_AFTER:
                    gevent.sleep(0)

    def _totals(self) -> dict[str, dict[Series, list[int]]]:
        """The numbers of all lanes added up, by metric and series."""
        totals: dict[str, dict[Series, list[int]]] = {}
        done = 0
        for lane in self._memory.in_use():
            words, known = self._entries_of(lane)
            for series, at, count in known:
                numbers = words[at : at + count].tolist()
                found = totals.setdefault(series[0], {})
                earlier = found.get(series)
                found[series] = (
                    numbers if earlier is None else [one + other for one, other in zip(earlier, numbers, strict=False)]
                )
                done += 1
                if not done % PAUSE_AFTER:
                    gevent.sleep(0)
        return totals

    def _entries_of(self, lane: int) -> tuple[memoryview, list[tuple[Series, int, int]]]:
        """A lane and its entries; those that were there last time are not read again."""
        words, end, known = self._read.get(lane) or (self._memory.words(lane), 0, [])
        for series, at, count in _entries(words, end):
            known.append((series, at, count))
            end = at + count
            if not len(known) % PAUSE_AFTER:
                gevent.sleep(0)
        self._read[lane] = (words, end, known)
        return words, known
