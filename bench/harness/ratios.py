"""Rounds of one case, nginx and gateway in turn, and what comes out of them.

A virtual machine's neighbours only ever add to a figure, so the lowest CPU time per request over the rounds is the best
estimate of what a request costs; the ratios of the single rounds are kept to show how much they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.bench import Bench
from harness.cases import Bar, Case
from harness.gateway import Gateway, OtherGateway
from harness.load import Sample

NOISY_SHARE = 0.03  # of the gateway's core, used by others or taken by the hypervisor
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The result of a case at one number of connections. `without` is the gateway without the case's settings."""

    case: Case
    connections: int
    nginx: Sequence[Sample]
    gateway: Sequence[Sample]
    without: Sequence[Sample] = ()

    @property
    def ratio(self) -> float:
        """CPU time per request as a multiple of nginx's, or what the case adds to that multiple."""
        unit = best_cpu(self.nginx)
        base = best_cpu(self.without) if self.without else 0.0
        return (best_cpu(self.gateway) - base) / unit

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest ratio of single rounds."""
        without = [sample.cpu for sample in self.without] or [0.0] * len(self.gateway)
        each = [
            (ours.cpu - base) / unit.cpu for ours, unit, base in zip(self.gateway, self.nginx, without, strict=True)
        ]
        return min(each), max(each)

    @property
    def errors(self) -> int:
        """Answers with a wrong kind of status, and broken or timed out exchanges, over all rounds."""
        wrong = 0
        for sample in (*self.gateway, *self.without):
            unexpected = sample.requests - sample.statuses if self.case.request.status >= 400 else sample.statuses
            wrong += max(0, unexpected) + sample.broken
        return wrong

    @property
    def nginx_errors(self) -> int:
        """The same for nginx, which always proxies."""
        return sum(sample.statuses + sample.broken for sample in self.nginx)

    @property
    def noise(self) -> float:
        """Highest share of the core that was not the measured worker's own, over all rounds."""
        return max(sample.foreign + sample.stolen for sample in (*self.nginx, *self.gateway, *self.without))

    @property
    def verdict(self) -> str:
        """`aim`, `must`, `MISSED`, or `-` where there is no bar; errors miss every bar."""
        if self.errors or self.nginx_errors:
            return "ERRORS"
        return judge(self.ratio, self.case.bar)


def judge(value: float, bar: Bar) -> str:
    """Where a value stands against its bar."""
    if bar.must is None:
        return "-"
    if bar.aim is not None and value <= bar.aim:
        return "aim"
    return "must" if value <= bar.must else "MISSED"


def best_cpu(samples: Sequence[Sample]) -> float:
    """Lowest CPU µs per request."""
    return min(sample.cpu for sample in samples)


def best(samples: Sequence[Sample]) -> Sample:
    """The round with the lowest CPU time per request."""
    return min(samples, key=lambda sample: sample.cpu)


def fastest(samples: Sequence[Sample]) -> Sample:
    """The round with most requests per second."""
    return max(samples, key=lambda sample: sample.rate)


@contextmanager
def _prepared(bench: Bench, case: Case) -> Iterator[tuple[Gateway | OtherGateway, Gateway | OtherGateway | None]]:
    """The gateway for a case and, where the bar is for an addition, a second one without the case's settings."""
    with ExitStack() as stack:
        gateway = bench.gateway(case)
        stack.callback(gateway.end)
        without = None
        if case.bar.added:
            without = bench.gateway(case, settings={})
            stack.callback(without.end)
        yield gateway, without


def measure(bench: Bench, case: Case, say: Say) -> list[Row]:
    """All rounds of a case at every number of connections."""
    rows = []
    with _prepared(bench, case) as (gateway, without):
        targets = [target for target in (bench.nginx, without, gateway) if target is not None]
        for target in targets:
            bench.warm_up(target, case.request)
        for connections in bench.options.connections:
            samples: dict[int, list[Sample]] = {id(target): [] for target in targets}
            for number in range(bench.options.rounds):
                for target in targets:
                    sample = bench.drive(target, case, connections, number)
                    samples[id(target)].append(sample)
                    say(f"  c={connections} round {number + 1} {_label(target, gateway)}: {brief(sample)}")
            rows.append(
                Row(
                    case,
                    connections,
                    nginx=samples[id(bench.nginx)],
                    gateway=samples[id(gateway)],
                    without=samples[id(without)] if without is not None else (),
                )
            )
    return rows


def _label(target: object, gateway: object) -> str:
    name: str = target.name  # type: ignore[attr-defined]
    return f"{name:8}" if target is gateway or name == "nginx" else f"{name} without"


def brief(sample: Sample) -> str:
    """A sample on one line, for whoever watches the run."""
    return (
        f"{sample.rate:8,.0f} req/s  {sample.cpu:7.1f} µs ({sample.cpu_user:.1f}+{sample.cpu_system:.1f})"
        f"  p50 {sample.p50:.2f} p99 {sample.p99:.2f} ms  core {sample.core_use:.0%}"
        f"  others {sample.foreign + sample.stolen:.1%}  RSS {sample.rss_kib / 1024:.1f} MiB"
    )
