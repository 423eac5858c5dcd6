"""What is not a wrk run against nginx: memory, big bodies, idle clients, start, Admin writes, changes under load."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from harness.bench import Bench
from harness.cases import CASES, Bar, Case
from harness.gateway import Admin, Gateway, OtherGateway, in_parallel
from harness.load import COMMON_HEADERS, check_answer, exchange
from harness.meanwhile import measure_meanwhile
from harness.process import BenchError, rss_kib
from harness.ratios import Say, judge
from harness.transfers import Transfer, idle_clients, transfer

MANY_ROUTES = 10_000
IDLE_CLIENTS = 10_000
SPARE_FILES = 1000  # descriptors of client and server besides those of the idle connections
PARALLEL_WRITERS = 8
CHANGE_INTERVAL = 0.1  # seconds between two Admin changes under load
KIB_PER_MIB = 1024
FLAT_MIB = 5.0  # growth that still counts as flat memory for a body of any size


@dataclass(frozen=True)
class Figure:
    """One measured value. `must` is an upper limit, or a lower one with `at_least`; `note` says what belongs to it."""

    case: str
    title: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    at_least: bool = False
    note: str = ""
    added: bool = False  # what a plugin adds to a request: a table of its own

    @property
    def verdict(self) -> str:
        """Where the value stands against its bar."""
        if self.at_least and self.must is not None:
            return "must" if self.value >= self.must else "MISSED"
        return judge(self.value, Bar(self.must, self.aim))


Measurement = Callable[[Bench, Say], list[Figure]]
PLAIN = next(case for case in CASES if case.name == "plain")
TLS = next(case for case in CASES if case.name == "tls")
ROUTES_10K = next(case for case in CASES if case.name == "routes-10k")


def sink_route(bench: Bench, gateway: Gateway | OtherGateway) -> None:
    """Let the gateway pass /sink to the upload sink."""
    if isinstance(gateway, Gateway):
        gateway.admin.post("/services", name="sink", url=f"http://127.0.0.1:{bench.behind.sink}")
        gateway.admin.post("/services/sink/routes", name="sink", paths=["/sink"], strip_path=False)


def big_body(upload: bool) -> Measurement:
    """Measurement of one body of the run's big size, in the direction asked for."""

    def run(bench: Bench, say: Say) -> list[Figure]:
        word = "upload" if upload else "download"
        path = "/sink/put" if upload else "/api/files/big"
        mib = bench.options.big_mib
        gateway = bench.gateway(PLAIN)
        try:
            sink_route(bench, gateway)
            ours: list[Transfer] = []
            theirs: list[Transfer] = []
            for target in (bench.nginx, gateway):
                bench.warm_up(target, PLAIN.request)
            for number in range(bench.options.rounds):
                for target, kept in ((bench.nginx, theirs), (gateway, ours)):
                    kept.append(transfer(target, path, mib, upload))
                    say(f"  round {number + 1} {target.name:8}: {_words(kept[-1])}")
        finally:
            gateway.end()
        unit, best = _cheapest(theirs), _cheapest(ours)
        bar = Bar(1.0, 0.3) if upload else Bar()
        growth = max(each.growth_kib for each in ours) / KIB_PER_MIB
        size = f"{mib} MiB {word}"
        return [
            Figure(
                word, f"{size}: CPU as a multiple of nginx's", best.cpu / max(unit.cpu, 0.01), "×", bar.must, bar.aim,
                note=f"{_words(best)}; nginx {_words(unit)}",
            ),
            Figure(
                word, f"{size}: growth of the worker's memory", growth, "MiB", FLAT_MIB,
                note=f"RSS {best.rss_kib / KIB_PER_MIB:.1f} MiB afterwards",
            ),
        ]  # fmt: skip

    return run


def _cheapest(transfers: Sequence[Transfer]) -> Transfer:
    return min(transfers, key=lambda each: each.cpu)


def _words(each: Transfer) -> str:
    return f"{each.cpu:.2f} s CPU, {each.mib / each.seconds:,.0f} MiB/s, +{each.growth_kib / KIB_PER_MIB:.1f} MiB"


def memory(bench: Bench, say: Say) -> list[Figure]:
    """Resident memory of the worker with one route and with many, each after load."""
    figures = []
    for case, must, title in ((PLAIN, 60.0, "1 route"), (ROUTES_10K, 200.0, f"{MANY_ROUTES:,} routes")):
        if bench.options.other is not None and case.needs_admin:
            continue
        gateway = bench.gateway(case)
        try:
            fresh = rss_kib(gateway.workers) / KIB_PER_MIB
            bench.warm_up(gateway, case.request)
            value = rss_kib(gateway.workers) / KIB_PER_MIB
        finally:
            gateway.end()
        say(f"  {title}: {value:.1f} MiB (before load {fresh:.1f})")
        figures.append(
            Figure("memory", f"worker's RSS, {title}", value, "MiB", must, note=f"before load {fresh:.1f} MiB")
        )
    return figures


def idle(case: Case, bar: Bar) -> Measurement:
    """Measurement of the memory of idle keep-alive clients, after as many as wrk will use have been served before."""

    def run(bench: Bench, say: Say) -> list[Figure]:
        count = min(IDLE_CLIENTS, bench.files - SPARE_FILES)
        if bench.options.quick:
            count = min(count, 1000)
        gateway = bench.gateway(case)
        try:
            found = {}
            for target in (bench.nginx, gateway):
                bench.warm_up(target, case.request)
                found[target.name] = idle_clients(target, case.request, count)
                say(f"  {target.name}: {found[target.name]}")
        finally:
            gateway.end()
        ours, theirs = found[gateway.name], found[bench.nginx.name]
        if ours.alive != ours.asked_again:
            raise BenchError(f"only {ours.alive} of {ours.asked_again} idle clients got their second answer")
        note = f"CPU while idle {ours.cpu_share:.1%} of a core; nginx {theirs.kib_each:.2f} KiB"
        name, over = ("idle-tls", " over TLS") if case.request.tls else ("idle", "")
        title = f"{count:,} idle keep-alive clients{over}, each"
        return [Figure(name, title, ours.kib_each, "KiB", bar.must, bar.aim, note=note)]

    return run


def start_time(bench: Bench, say: Say) -> list[Figure]:
    """Time of the start command with many routes, until a request to one of them has its answer."""
    gateway = bench.new_gateway({}, MANY_ROUTES)
    times = []
    try:
        for number in range(bench.options.rounds):
            before = time.monotonic()
            command = gateway.start()
            check_answer(gateway, ROUTES_10K.request)
            times.append(time.monotonic() - before)
            say(f"  round {number + 1}: {times[-1]:.2f} s (the command returned after {command:.2f} s)")
            gateway.stop()
    finally:
        gateway.end()
    note = f"{min(times):.2f}-{max(times):.2f} s in {len(times)} rounds"
    return [Figure("start", f"start with {MANY_ROUTES:,} routes", min(times), "s", 5.0, note=note)]


def admin_writes(bench: Bench, say: Say) -> list[Figure]:
    """POST /services on SQLite: one client after the other, then several at once."""
    figures = []
    gateway = own_gateway(bench, PLAIN)
    try:
        for writers, title in ((1, "one client"), (PARALLEL_WRITERS, f"{PARALLEL_WRITERS} clients at once")):
            rates = []
            for number in range(bench.options.rounds):
                rates.append(admin_rate(gateway.admin, writers, f"w{writers}-{number}", bench.options.seconds))
                say(f"  {title}, round {number + 1}: {rates[-1]:.0f}/s")
            note = f"{min(rates):.0f}-{max(rates):.0f}/s in {len(rates)} rounds"
            figures.append(
                Figure("admin-writes", f"Admin writes, {title}", max(rates), "/s", 300.0, at_least=True, note=note)
            )
    finally:
        gateway.end()
    return figures


def admin_rate(admin: Admin, writers: int, prefix: str, seconds: float) -> float:
    """Services created per second; the last one of each writer is read back."""
    done = [0] * writers
    end = time.monotonic() + seconds

    def write(number: int) -> None:
        with closing(admin.another()) as own:
            while time.monotonic() < end:
                name = f"{prefix}-{number}-{done[number]}"
                own.post("/services", name=name, url="http://127.0.0.1:1/")
                done[number] += 1
            if own.call("GET", f"/services/{name}")["name"] != name:
                raise BenchError(f"service {name} was created but cannot be read")

    before = time.monotonic()
    in_parallel(writers, write)
    return sum(done) / (time.monotonic() - before)


@dataclass
class Changes:
    """What the changing client saw: how long the Admin API took (ms), and answers from an older configuration."""

    milliseconds: list[float] = field(default_factory=list)
    stale: int = 0


def changes(bench: Bench, say: Say) -> list[Figure]:
    """p99 of proxied requests at random routes while other routes come, change and go, against the same in quiet."""
    gateway, seen = own_gateway(bench, ROUTES_10K), Changes()
    try:
        found = measure_meanwhile(
            bench, say, gateway, ROUTES_10K, "changes", lambda stop, number: _change(gateway, seen, stop, number)
        )
    finally:
        gateway.end()
    writes = f"a change takes {statistics.median(seen.milliseconds):.1f} ms (worst {max(seen.milliseconds):.1f})"
    note = f"{found.words()}; {writes}; {len(seen.milliseconds)} changes"
    title = f"p99 during {1 / CHANGE_INTERVAL:.0f} route changes/s, {MANY_ROUTES:,} routes, as a multiple of quiet"
    return [
        Figure("changes", title, found.ratio, "×", 1.5, note=note),
        Figure("changes", "answers from an older configuration", seen.stale, "", 0.0),
    ]


def _change(gateway: Gateway, seen: Changes, stop: threading.Event, number: int) -> None:
    """Create, move and delete routes, one step each interval; after each step ask for the paths concerned."""
    with closing(gateway.admin.another()) as admin:
        serial = 0
        while not stop.is_set():
            serial += 1
            name, old, new = f"change-{number}-{serial}", f"/old-{serial}/", f"/new-{serial}/"
            steps = (
                ("POST", "/services/seeded/routes", {"name": name, "paths": [old]}, {old: 200, new: 404}),
                ("PATCH", f"/routes/{name}", {"paths": [new]}, {old: 404, new: 200}),
                ("DELETE", f"/routes/{name}", None, {old: 404, new: 404}),
            )
            for method, path, body, expected in steps:
                before = time.monotonic()
                admin.call(method, path, body)
                seen.milliseconds.append((time.monotonic() - before) * 1000)
                seen.stale += sum(status_of(gateway.port, each) != status for each, status in expected.items())
                stop.wait(CHANGE_INTERVAL)


def status_of(port: int, path: str) -> int:
    """The status that a path is answered with."""
    headers = "\r\n".join((*COMMON_HEADERS, "Connection: close"))
    return exchange(port, f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())[0]


def own_gateway(bench: Bench, case: Case) -> Gateway:
    """A gateway of ours, ready for a case."""
    gateway = bench.gateway(case)
    if not isinstance(gateway, Gateway):
        gateway.end()
        raise BenchError("this needs the Admin API")
    return gateway


FIGURES: dict[str, tuple[str, Measurement]] = {
    "upload": ("one big upload: CPU, memory", big_body(upload=True)),
    "download": ("one big download: CPU, memory", big_body(upload=False)),
    "memory": ("worker's memory with 1 and 10,000 routes", memory),
    "idle": ("memory of 10,000 idle keep-alive clients", idle(PLAIN, Bar(4.0))),
    "idle-tls": ("memory of 10,000 idle keep-alive clients over TLS", idle(TLS, Bar(60.0, 40.0))),
    "start": ("start time with 10,000 routes", start_time),
    "admin-writes": ("Admin API writes per second on SQLite", admin_writes),
    "changes": ("p99 while routes are being changed, 10,000 routes", changes),
}
