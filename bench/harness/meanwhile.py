"""The p99 of proxied requests while something else happens, against the same in quiet: what such rows share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.bench import Bench
from harness.cases import Case
from harness.gateway import Gateway
from harness.load import Sample
from harness.process import BenchError
from harness.ratios import Say

CONNECTIONS = 16
Disturb = Callable[[threading.Event, int], None]
"""Does something again and again until the event is set; the number is that of the round."""


@dataclass(frozen=True)
class Meanwhile:
    """Rounds in quiet and with the disturbance, in turn."""

    quiet: list[Sample]
    busy: list[Sample]

    @property
    def ratio(self) -> float:
        """The p99 with the disturbance as a multiple of that in quiet, each the best of its rounds."""
        return min(each.p99 for each in self.busy) / min(each.p99 for each in self.quiet)

    def words(self) -> str:
        """The latencies behind the ratio."""
        calm, moved = min(each.p99 for each in self.quiet), min(each.p99 for each in self.busy)
        slowest, calmest = min(each.worst for each in self.busy), min(each.worst for each in self.quiet)
        return f"p99 {moved:.2f} against {calm:.2f} ms, slowest {slowest:.1f} against {calmest:.1f} ms"


def measure_meanwhile(
    bench: Bench, say: Say, gateway: Gateway, case: Case, name: str, disturb: Disturb, seconds: float | None = None
) -> Meanwhile:
    """Drive a case in quiet and during `disturb`, in turn. `seconds`: of a disturbed round, else as of others.

    Raises what `disturb` raises.
    """
    case = replace(case, name=name)
    found = Meanwhile([], [])
    bench.warm_up(gateway, case.request)
    for number in range(bench.options.rounds):
        found.quiet.append(bench.drive(gateway, case, CONNECTIONS, number))
        other = _Other(disturb, number)
        try:
            found.busy.append(bench.drive(gateway, case, CONNECTIONS, number, exact=False, seconds=seconds))
        finally:
            other.end()
        if other.problem is not None:
            raise other.problem
        say(f"  round {number + 1}: quiet p99 {found.quiet[-1].p99:.2f} ms, {name} {found.busy[-1].p99:.2f} ms")
    return found


class _Other:
    """The thread that disturbs."""

    def __init__(self, disturb: Disturb, number: int) -> None:
        self.problem: BenchError | OSError | None = None
        self._disturb = disturb
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(number,))
        self._thread.start()

    def _run(self, number: int) -> None:
        try:
            self._disturb(self._stop, number)
        except (BenchError, OSError) as error:
            self.problem = error

    def end(self) -> None:
        """Let it finish what it does."""
        self._stop.set()
        self._thread.join()
