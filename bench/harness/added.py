"""What a plugin or a balancer adds to a request: two services of one gateway that differ in it alone, asked in turn.

Both get the same requests, so that what remains of their difference is the plugin. That is small against the noise of a
machine: the turns are short and many, and as elsewhere the lowest CPU time of each counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from harness.bench import Bench
from harness.cases import Bar, Case
from harness.figures import Figure, Measurement, own_gateway
from harness.gateway import Addresses, Admin
from harness.load import Request, Sample
from harness.nginx import UPSTREAM_ADDRESSES
from harness.plugins import ITEMS, MEASURED_PATH, add_consumers, add_service, request_for
from harness.process import BenchError
from harness.ratios import Say, best_cpu, brief

BASE_PATH = "/base"
TURNS = 2  # in each round
SMALL = Bar(3, 1.5)
CREDENTIAL = Bar(4, 2)
SIGNED = Bar(10, 5)
TRANSFORMER = Bar(10, 5)


class Row(Protocol):
    """What a row is called, and its bar in CPU µs per request."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def bar(self) -> Bar: ...


class Balanced(NamedTuple):
    """A row that is no plugin."""

    name: str
    title: str
    bar: Bar


BALANCER = Balanced("balancer", f"a balancer with {UPSTREAM_ADDRESSES} targets, added to plain", Bar(4, 2))


@dataclass(frozen=True)
class Addition:
    """A row: `plugin` is measured beside the plugins of `base`; the bar is in CPU µs per request."""

    plugin: str
    bar: Bar
    detail: str = ""
    base: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How `bench/run` calls it."""
        return f"+{self.plugin}"

    @property
    def title(self) -> str:
        """What is added to what."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.plugin}{detail}, added to {', '.join(self.base) or 'plain'}"


ADDITIONS = (
    Addition("acl", SMALL, "one group", base=("key-auth",)),
    Addition("cors", SMALL, "a request of an allowed origin"),
    Addition("correlation-id", SMALL, "counter and UUID, echoed"),
    Addition("ip-restriction", SMALL, "10 CIDRs"),
    Addition("request-size-limiting", SMALL),
    Addition("bot-detection", SMALL),
    Addition("key-auth", CREDENTIAL, "1,000 consumers at random, cached"),
    Addition("basic-auth", CREDENTIAL, "credential cached"),
    Addition("jwt", SIGNED, "HS256, token seen before"),
    Addition("hmac-auth", SIGNED, "HMAC-SHA256 over date and request line, seen before"),
    Addition("rate-limiting", Bar(8, 4), "minute and hour, local, 1,000 consumers", base=("key-auth",)),
    Addition("request-transformer", TRANSFORMER, "5 headers, 1 query argument"),
    Addition("response-transformer", TRANSFORMER, "5 headers"),
    Addition("prometheus", Bar(4, 2), "all metrics"),
    Addition("file-log", Bar(10, 5)),
    Addition("http-log", Bar(10, 6), "batches of 1,000"),
)


def case_of(addition: Addition, path: str = MEASURED_PATH) -> Case:
    """What is asked of the service with the plugin, or at BASE_PATH of the one without."""
    plugins = (*addition.base, addition.plugin)

    def configure(admin: Admin, behind: Addresses) -> None:
        add_service(admin, behind, "base", BASE_PATH, addition.base)
        add_service(admin, behind, "with", MEASURED_PATH, plugins)
        add_consumers(admin, plugins)

    return Case(addition.name, addition.title, request_for(f"{path}{ITEMS}", plugins), configure=configure)


def balanced(path: str = MEASURED_PATH) -> Case:
    """What is asked of the service behind a balancer, or at BASE_PATH of the one that is called directly."""

    def configure(admin: Admin, behind: Addresses) -> None:
        add_service(admin, behind, "base", BASE_PATH)
        admin.post("/upstreams", name=BALANCER.name)
        for number in range(1, UPSTREAM_ADDRESSES + 1):
            admin.post(f"/upstreams/{BALANCER.name}/targets", target=f"127.0.0.{number}:{behind.upstream}")
        admin.post("/services", name="with", host=BALANCER.name)
        admin.post("/services/with/routes", name="with", paths=[MEASURED_PATH])

    return Case(BALANCER.name, BALANCER.title, Request(f"{path}{ITEMS}"), configure=configure)


def added(row: Row, base: Case, measured: Case) -> Measurement:
    """The measurement of a row."""

    def run(bench: Bench, say: Say) -> list[Figure]:
        gateway = own_gateway(bench, measured)
        connections = bench.options.connections[len(bench.options.connections) // 2]
        samples: dict[str, list[Sample]] = {"without": [], "with": []}
        try:
            for case in (base, measured):
                bench.warm_up(gateway, case.request)
            for number in range(TURNS * bench.options.rounds):
                for (name, kept), case in zip(samples.items(), (base, measured), strict=True):
                    kept.append(bench.drive(gateway, case, connections, number))
                    say(f"  c={connections} turn {number + 1} {name:8}: {brief(kept[-1])}")
        finally:
            gateway.end()
        return [_figure(row, *samples.values())]

    return run


def _figure(row: Row, without: Sequence[Sample], having: Sequence[Sample]) -> Figure:
    if wrong := sum(sample.statuses + sample.broken for sample in (*without, *having)):
        raise BenchError(f"{wrong} requests were not answered as they should")
    each = [ours.cpu - base.cpu for ours, base in zip(having, without, strict=True)]
    low, high = best_cpu(without), best_cpu(having)
    note = f"{high:.1f} against {low:.1f} µs; single turns {min(each):+.1f} to {max(each):+.1f}"
    return Figure(row.name, row.title, high - low, "µs", row.bar.must, row.bar.aim, note=note, added=True)


def _rows() -> Iterator[tuple[Row, Measurement]]:
    for addition in ADDITIONS:
        yield addition, added(addition, case_of(addition, BASE_PATH), case_of(addition))
    yield BALANCER, added(BALANCER, balanced(BASE_PATH), balanced())


ADDED = {row.name: (row.title, measurement) for row, measurement in _rows()}
