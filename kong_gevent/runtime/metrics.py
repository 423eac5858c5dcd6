"""Numbers that a node's workers count together and anybody may read: exact over workers, and over their deaths.

Strategy: memory that is made before the workers are forked, one lane per worker, written by that worker alone, so
counting takes no lock. From its beginning a lane fills with the series, from its end with their 64-bit numbers: those
that are counted together lie together, and take few lines of the processor's cache. A worker that takes the lane of one
that has ended goes on with its series. Who reads adds up all lanes.

A series is kept as the text that readers get, so that reading copies rather than formats, and keeps nothing.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add
from typing import Any

from kong_gevent.pacing import Pacer
from kong_gevent.pdk.metrics import Cell, Observer

LANE_BYTES = 64 << 20
"""Room of a worker; only what is used of it takes memory. A series: name, labels, and 8 octets for each number."""
WORD = 8
SPARE = 64
"""Numbers at the end of a lane that nobody reads: where series are counted that there is no room for."""
_USED, _FIRST = 0, 1
SLICE = 0.0002
"""Seconds for which reading goes on before other greenlets get a turn: requests are not to notice it."""
REST = 0.001
"""Seconds of each such turn at least."""
STRIDE = 32
"""Entries between two looks at the clock."""
PIECE = 1 << 14
"""Bytes of a piece of the text."""
Series = bytes
"""A metric's name, a zero, and its labels as they are shown: `a="x",b="y"`."""
Totals = dict[bytes, dict[bytes, Any]]
"""Name → labels → numbers: one, or a list of them, which many that are alike need not be."""


class Full(Exception):
    """A lane has no room for another series."""


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
        """Lanes that have series."""
        return [
            lane
            for lane in range(self._lanes)
            if any(os.pread(self._file, WORD, lane * self._lane_bytes + _USED * WORD))
        ]


def _entries(words: memoryview) -> Iterator[tuple[Series, int, int]]:
    """What a lane has: series, its first number's place, how many numbers there are."""
    octets = words.cast("B")
    at, end = _FIRST, _FIRST + words[_USED]
    place = len(words) - SPARE
    while at < end:
        head = words[at]
        size, count = head >> 32, head & 0xFFFFFFFF
        at += 1
        place -= count
        yield bytes(octets[at * WORD : at * WORD + size]), place, count
        at += -(-size // WORD)


class MetricLane:
    """What one worker counts."""

    def __init__(self, words: memoryview) -> None:
        self.words = words
        self.spare = self._lowest = len(words) - SPARE
        self._places: dict[Series, int] = {}
        for series, self._lowest, _ in _entries(words):
            self._places[series] = self._lowest

    def place(self, series: Series, count: int) -> int:
        """Where the series' `count` numbers are; they are zero when it is new. Raises `Full`."""
        at = self._places.get(series)
        if at is None:
            at = self._places[series] = self._append(series, count)
        return at

    def _append(self, series: Series, count: int) -> int:
        words = self.words
        start = _FIRST + words[_USED]
        end = start + 1 + -(-len(series) // WORD)
        lowest = self._lowest - count
        if end > lowest:
            raise Full
        words[start] = len(series) << 32 | count
        words[start + 1 : end] = memoryview(series.ljust((end - start - 1) * WORD, b"\0")).cast("q")
        words[_USED] = end - _FIRST  # last, so that readers only ever see whole series
        self._lowest = lowest
        return lowest


class _Cell:
    """See `kong_gevent.pdk.metrics.Cell`."""

    __slots__ = ("_words", "at")

    def __init__(self, words: memoryview, at: int) -> None:
        self._words = words
        self.at = at

    def add(self, amount: int = 1) -> None:
        """Count."""
        self._words[self.at] += amount


class _Observer:
    """See `kong_gevent.pdk.metrics.Observer`: buckets, what is beyond the last, the sum in thousandths."""

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
        self.name = name.encode()
        self.head = f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()
        self.labels = labels
        comma = "," if labels else ""
        self.limits = [f'{comma}le="{bound}"}} '.encode() for bound in (*map(_number, bounds), "+Inf")]
        self.is_histogram = bool(bounds)

    def series(self, values: Sequence[str]) -> Series:
        """The series with these values of the labels."""
        return b"%b\0%b" % (self.name, labels_text(self.labels, values).encode())

    def write(self, labels: bytes, numbers: Sequence[float]) -> bytes:
        """The lines of one series."""
        braces = b"{%b}" % labels if labels else b""
        if not self.is_histogram:
            return b"%b%b %b\n" % (self.name, braces, _number(numbers[0]).encode())
        lines = []
        total = 0
        for limit, number in zip(self.limits, numbers, strict=False):
            total += int(number)
            lines.append(b"%b_bucket{%b%b%d\n" % (self.name, labels, limit, total))
        whole = _number(numbers[-1] / 1000).encode()
        lines.append(b"%b_count%b %d\n%b_sum%b %b\n" % (self.name, braces, total, self.name, braces, whole))
        return b"".join(lines)


def labels_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`a="x",b="y"`, escaped as the text format wants it."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class WorkerMetrics:
    """See `kong_gevent.pdk.metrics.Metrics`: one worker's door to the node's metrics."""

    def __init__(self, memory: MetricMemory, lane: int) -> None:
        self._memory = memory
        self._lane = MetricLane(memory.words(lane))
        self._families: list[_Family] = []
        self._gauges: list[tuple[_Family, Callable[[], Iterable[tuple[Sequence[str], float]]]]] = []
        self.numbers = self._lane.words
        self._errors: Cell | None = None
        self._always: list[_Family] = []

    def counter(self, name: str, text: str, *labels: str) -> Callable[..., Cell]:
        """See `Metrics.counter`."""
        family = self._family(name, text, "counter", labels)
        return lambda *values: _Cell(*self._place(family.series(values), 1))

    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Callable[..., Observer]:
        """See `Metrics.histogram`."""
        if len(bounds) + 2 > SPARE:
            raise ValueError(f"{name}: more than {SPARE - 2} bounds")
        family = self._family(name, text, "histogram", labels, tuple(bounds))
        return lambda *values: _Observer(*self._place(family.series(values), len(bounds) + 2), bounds)

    def _family(self, name: str, *facts: Any) -> _Family:
        family = _Family(name, *facts)
        self._families = [*(other for other in self._families if other.name != family.name), family]
        return family

    def gauge(
        self, name: str, text: str, labels: Sequence[str], collect: Callable[[], Iterable[tuple[Sequence[str], float]]]
    ) -> None:
        """See `Metrics.gauge`."""
        self._gauges.append((_Family(name, text, "gauge", tuple(labels)), collect))

    def count_errors(self, name: str, text: str) -> None:
        """See `Metrics.count_errors`."""
        self._errors = self.counter(name, text)()
        self._always = self._families[-1:]

    def _place(self, series: Series, count: int) -> tuple[memoryview, int]:
        try:
            return self._lane.words, self._lane.place(series, count)
        except Full:
            if self._errors is not None:
                self._errors.add()
            return self._lane.words, self._lane.spare  # read by nobody, which the number of errors tells

    def exposition(self, counted: bool = True) -> Iterator[bytes]:
        """See `Metrics.exposition`."""
        piece, size = [], 0
        for line in self._lines(counted):
            piece.append(line)
            size += len(line)
            if size >= PIECE:
                yield b"".join(piece)
                piece, size = [], 0
        yield b"".join(piece)

    def _lines(self, counted: bool) -> Iterator[bytes]:
        """The text, some lines at a time. Others get their turn meanwhile."""
        pace = Pacer(SLICE, REST)
        for family, collect in self._gauges:
            for number, (values, value) in enumerate(collect()):
                if not number:
                    yield family.head
                yield family.write(labels_text(family.labels, values).encode(), (value,))
                if not number % STRIDE:
                    pace()
        totals = self._totals(pace)
        for family in self._families if counted else self._always:
            found = totals.pop(family.name, None)
            if found is None:
                continue
            yield family.head
            order = list(found)
            order.reverse()
            while order:  # taken apart on the way: letting go of all of it at once would take milliseconds
                labels = order.pop()
                numbers = found.pop(labels)
                yield family.write(labels, numbers if family.is_histogram else (numbers,))
                if family.is_histogram or not len(order) % STRIDE:
                    pace()

    def _totals(self, pace: Pacer) -> Totals:
        """The numbers of all lanes added up."""
        totals: Totals = {}
        for lane in self._memory.in_use():
            words = self._memory.words(lane)
            for place, (series, at, count) in enumerate(_entries(words)):
                name, _, labels = series.partition(b"\0")
                found = totals.setdefault(name, {})
                earlier = found.get(labels)
                if count == 1:
                    found[labels] = words[at] + (earlier or 0)
                else:
                    numbers = words[at : at + count].tolist()
                    found[labels] = numbers if earlier is None else list(map(add, earlier, numbers))
                if not place % STRIDE:
                    pace()
        return totals
