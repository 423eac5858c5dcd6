"""What plugins count for everybody to see: `kit.metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol


class Cell(Protocol):
    """One number of a counter."""

    at: int
    """Its place in `Metrics.numbers`."""

    def add(self, amount: int = 1) -> None:
        """Count."""
        ...


class Observer(Protocol):
    """One series of a histogram."""

    def observe(self, value: float) -> None:
        """Take a value into account."""
        ...


class Metrics(Protocol):
    """Numbers that all workers of the node count together; they outlive workers, not the node.

    Names and labels as in Prometheus. What `counter` and `histogram` return makes the cell of some label values (texts,
    in the order of the labels): keep cells, since counting is far cheaper than finding one.
    """

    numbers: memoryview
    """This worker's numbers, for what is counted with every request: `numbers[cell.at] += 1` is `cell.add()`, without
    a call, and without the cell, whose place can be kept instead. Change nothing else in it."""

    def counter(self, name: str, text: str, *labels: str) -> Callable[..., Cell]:
        """A number that only grows."""
        ...

    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Callable[..., Observer]:
        """How often values came that are at most so large (ascending `bounds`), and their sum."""
        ...

    def gauge(
        self, name: str, text: str, labels: Sequence[str], collect: Callable[[], Iterable[tuple[Sequence[str], float]]]
    ) -> None:
        """Numbers that `collect` finds out when somebody asks: pairs of label values and number."""
        ...

    def count_errors(self, name: str, text: str) -> None:
        """Count series for which there was no room, under this name."""
        ...

    def exposition(self, counted: bool = True) -> Iterator[bytes]:
        """All of it in Prometheus' text format, in pieces; requests are served between them.

        `counted`: with what was counted, and not only with gauges and the number of errors.
        """
        ...
