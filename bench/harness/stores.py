"""The datastores side by side: look-ups that miss the caches, Admin writes, start, changes that reach another node, and
what rate limits cost that several nodes share.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from harness.bench import SEED_SECONDS, Bench
from harness.cases import PLAIN_PATH, ROUTE_PATH, Case
from harness.figures import Figure, Measurement, admin_rate, status_of
from harness.gateway import ROOT, Gateway
from harness.load import Request, Sample, check_answer
from harness.plugins import KEY, WITH_KEY
from harness.process import BenchError, pinned, rss_kib
from harness.ratios import Say

STORES = ("sqlite", "postgres", "cassandra")
ROUTES, CONSUMERS = 10_000, 100_000
FEW = 100
"""Credentials that fit in any cache."""
SERVER_SECONDS = 120.0
END_SECONDS = 20.0
CHANGES = 200
KIB_PER_MIB = 1024
LIMIT = {"hour": 1_000_000_000}


class Servers:
    """The servers of one measurement, on the load's core; they end with it."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        self._bench, self._stack = bench, stack
        self._latest: tuple[subprocess.Popen[bytes], Path] | None = None  # process and folder

    def start(self, kind: str) -> dict[str, str]:
        """Start one and return what it tells: settings of a gateway, or its address."""
        folder = Path(self._stack.enter_context(_folder(self._bench.folder, kind)))
        command = [self._bench.options.python, str(Path(__file__).with_name("servers.py")), kind, str(folder)]
        log = folder / "output.log"
        with _environment(PYTHONPATH=str(ROOT)):
            process = self._bench.children.start(command, self._bench.options.load_core, log)
        self._stack.callback(self._end, process)
        self._latest = process, folder
        end = time.monotonic() + SERVER_SECONDS
        while not (folder / "ready.json").is_file():
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{kind} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        told: dict[str, str] = json.loads((folder / "ready.json").read_text())
        return told

    def settings(self, store: str) -> dict[str, str]:
        """Settings of gateways on an empty store."""
        if store == "sqlite":
            folder = self._stack.enter_context(_folder(self._bench.folder, store))
            return {"database": store, "sqlite_path": str(Path(folder) / "kong.sqlite3")}
        return {name.removeprefix("KONG_").lower(): value for name, value in self.start(store).items()}

    def kill(self) -> None:
        """Kill the one that was started last; `revive` brings it back."""
        self._send(signal.SIGUSR1)

    def revive(self) -> None:
        """Start anew what was killed, without waiting for it."""
        self._send(signal.SIGUSR2)

    def back_at(self) -> float | None:
        """When the one that was revived served again, in seconds of the monotonic clock; None until it does."""
        assert self._latest is not None, "nothing was started"
        process, folder = self._latest
        if process.poll() is not None:
            raise BenchError(f"the store did not come back: {(folder / 'output.log').read_text()[-2000:]}")
        told = folder / "back"
        return float(told.read_text()) if told.is_file() else None

    def _send(self, number: signal.Signals) -> None:
        assert self._latest is not None, "nothing was started"
        self._latest[0].send_signal(number)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._bench.children.kill(process.pid)


@contextlib.contextmanager
def _folder(inside: Path, kind: str) -> Iterator[str]:
    """A folder that servers who are not root may enter."""
    inside.chmod(0o755)
    folder = inside / f"{kind}{time.monotonic_ns()}"
    folder.mkdir()
    yield str(folder)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def servers(bench: Bench) -> Iterator[Servers]:
    """The servers of a measurement."""
    with ExitStack() as stack:
        yield Servers(bench, stack)


def fill(bench: Bench, settings: Mapping[str, str], routes: int, consumers: int) -> None:
    """Make the tables, with so many routes and consumers with keys."""
    gateway = bench.new_gateway(settings)
    command = [bench.options.python, str(Path(__file__).with_name("fill.py")), str(routes), str(consumers)]
    command += [f"http://127.0.0.1:{bench.behind.upstream}", ROUTE_PATH, KEY]
    with pinned(bench.options.gateway_core):
        done = subprocess.run(
            command, cwd=ROOT, env=gateway.environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=SEED_SECONDS, check=False,
        )  # fmt: skip
    if done.returncode:
        raise BenchError(f"the store could not be filled:\n{done.stdout}{done.stderr[-3000:]}")


@contextlib.contextmanager
def running(bench: Bench, settings: Mapping[str, str]) -> Iterator[Gateway]:
    """A gateway that serves."""
    gateway = bench.new_gateway(settings)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.end()


def store_start(bench: Bench, say: Say) -> list[Figure]:
    """Start, memory, look-ups: everything that wants a full store."""
    figures: list[Figure] = []
    for store in STORES:
        with servers(bench) as found:
            settings = found.settings(store)
            before = time.monotonic()
            fill(bench, settings, ROUTES, CONSUMERS)
            say(f"  {store}: filled in {time.monotonic() - before:.1f} s")
            figures += _start(bench, say, store, settings)
            figures += _lookups(bench, say, store, settings)
    return figures


def _start(bench: Bench, say: Say, store: str, settings: Mapping[str, str]) -> list[Figure]:
    times, memory = [], 0.0
    request = Request(f"{ROUTE_PATH}/items?page=2", count=ROUTES)
    for number in range(bench.options.rounds):
        gateway = bench.new_gateway(settings)
        try:
            before = time.monotonic()
            gateway.start()
            check_answer(gateway, request)
            times.append(time.monotonic() - before)
            memory = rss_kib(gateway.workers) / KIB_PER_MIB
        finally:
            gateway.end()
        say(f"  {store}, start {number + 1}: {times[-1]:.2f} s, {memory:.0f} MiB")
    what = f"{ROUTES:,} routes and {CONSUMERS:,} consumers with keys"
    note = f"{min(times):.2f}-{max(times):.2f} s in {len(times)} rounds"
    return [
        Figure("store-full", f"{store}: start with {what}", min(times), "s", 10.0, note=note),
        Figure("store-full", f"{store}: worker's RSS after that start", memory, "MiB", 200.0),
    ]


def _lookups(bench: Bench, say: Say, store: str, settings: Mapping[str, str]) -> list[Figure]:
    """CPU and latency of requests whose credential and consumer have to be read, against those that are cached."""
    found: dict[str, Sample] = {}
    alone: dict[str, Sample] = {}
    # With a time to live, nothing is concluded from cached values beyond them; in so small a cache nothing stays.
    for name, count, caches in (
        ("cached", FEW, {}),
        ("missed", CONSUMERS, {"mem_cache_size": "1k", "db_cache_ttl": "1"}),
    ):
        case = Case(f"store-{name}", "", Request("/api/r0/items", WITH_KEY, count))
        with running(bench, {**settings, **caches}) as gateway:
            plugin = gateway.admin.post("/plugins", name="key-auth")
            try:
                check_answer(gateway, case.request)
                bench.warm_up(gateway, case.request)
                rounds = range(bench.options.rounds)
                found[name] = min((bench.drive(gateway, case, 64, n) for n in rounds), key=lambda each: each.cpu)
                alone[name] = min((bench.drive(gateway, case, 1, n) for n in rounds), key=lambda each: each.p50)
            finally:
                gateway.admin.call("DELETE", f"/plugins/{plugin['id']}")
        say(f"  {store}, {name}: {found[name].cpu:.1f} µs CPU, {found[name].rate:,.0f}/s, p50 {alone[name].p50:.2f} ms")
    cpu = (found["missed"].cpu - found["cached"].cpu) / 2
    wait = max(0.0, alone["missed"].p50 - alone["cached"].p50) / 2
    note = (
        f"of two per request; {found['missed'].rate:,.0f} req/s against {found['cached'].rate:,.0f} cached, p50/p99 at"
        f" 64 connections {found['missed'].p50:.2f} / {found['missed'].p99:.2f} ms"
    )
    return [
        Figure("store-full", f"{store}: CPU of the worker for a look-up that misses", cpu, "µs", note=note),
        Figure("store-full", f"{store}: wait for such a look-up, one client", wait, "ms",
               note=f"median; p99 of a request {alone['missed'].p99:.2f} ms"),
    ]  # fmt: skip


def store_writes(bench: Bench, say: Say) -> list[Figure]:
    """POST /services on every store, by one client and by several at once."""
    figures = []
    for store in STORES:
        with servers(bench) as found:
            settings = found.settings(store)
            fill(bench, settings, 0, 0)
            with running(bench, settings) as gateway:
                for writers, title in ((1, "one client"), (8, "8 clients at once")):
                    rates = [
                        admin_rate(gateway.admin, writers, f"{store}{writers}-{number}", bench.options.seconds)
                        for number in range(bench.options.rounds)
                    ]
                    say(f"  {store}, {title}: {max(rates):.0f}/s")
                    note = f"{min(rates):.0f}-{max(rates):.0f}/s in {len(rates)} rounds"
                    figures.append(
                        Figure("store-writes", f"{store}: Admin writes, {title}", max(rates), "/s", note=note)
                    )
    return figures


def propagation(bench: Bench, say: Say) -> list[Figure]:
    """From the answer of one node's Admin API until another node serves the change."""
    figures = []
    changes = CHANGES // 10 if bench.options.quick else CHANGES
    for store in STORES:
        with servers(bench) as found:
            settings = found.settings(store)
            fill(bench, settings, 1, 0)
            with running(bench, settings) as first, running(bench, settings) as second:
                times = sorted(_change(first, second, number) for number in range(changes))
        middle, late = statistics.median(times), times[int(len(times) * 0.99)]
        say(f"  {store}: p50 {middle:.2f} s, p99 {late:.2f} s")
        note = f"p50 {middle:.2f} s, slowest {times[-1]:.2f} s, {changes} changes"
        figures.append(Figure("propagation", f"{store}: a change reaches another node, p99", late, "s", 2.0, note=note))
    return figures


def _change(first: Gateway, second: Gateway, number: int) -> float:
    with closing(first.admin.another()) as admin:
        admin.post("/services/seeded/routes", name=f"p{number}", paths=[f"/p{number}-"])
    before = time.monotonic()
    while status_of(second.port, f"/p{number}-") == 404:
        if time.monotonic() - before > 30:
            raise BenchError("a change did not reach the other node within 30 s")
        time.sleep(0.005)
    return time.monotonic() - before


def limits(bench: Bench, say: Say) -> list[Figure]:
    """Requests per second with limits that nodes share, as a part of what the policy `local` serves, in turn."""
    with servers(bench) as found:
        redis: dict[str, Any] = found.start("redis")
        redis["port"] = int(redis["port"])
        policies: dict[str, dict[str, Any]] = {
            "local": {"policy": "local"},
            "redis, sync_rate -1": {"policy": "redis", "sync_rate": -1, "redis": redis},
            "redis, sync_rate 0.5": {"policy": "redis", "sync_rate": 0.5, "redis": redis},
        }
        figures = _limits(bench, say, "sqlite", found.settings("sqlite"), policies)
        for store in STORES:
            policies = {"local": {"policy": "local"}, "cluster": {"policy": "cluster"}}
            figures += _limits(bench, say, store, found.settings(store), policies)
    return figures


def _limits(
    bench: Bench, say: Say, store: str, settings: Mapping[str, str], policies: Mapping[str, Mapping[str, Any]]
) -> list[Figure]:
    best: dict[str, Sample] = {}
    if "sqlite_path" in settings:
        Path(settings["sqlite_path"]).unlink(missing_ok=True)
    fill(bench, settings, 0, 0)
    with running(bench, settings) as gateway:
        for number, config in enumerate(policies.values()):
            gateway.admin.post("/services", name=f"s{number}", url=f"http://127.0.0.1:{bench.behind.upstream}")
            gateway.admin.post(f"/services/s{number}/routes", paths=[f"/l{number}"])
            gateway.admin.post(f"/services/s{number}/plugins", name="rate-limiting", config={**LIMIT, **config})
        for turn in range(bench.options.rounds):
            for number, name in enumerate(policies):
                case = Case(f"limits-{name}", "", Request(f"/l{number}{PLAIN_PATH}"))
                sample = bench.drive(gateway, case, 64, turn)
                say(f"  {store}, {name}: {sample.rate:,.0f}/s, {sample.cpu:.1f} µs CPU")
                if name not in best or sample.rate > best[name].rate:
                    best[name] = sample
    local = best.pop("local")
    return [
        Figure(
            "limits", f"rate-limiting, {name} ({store}): req/s as a part of policy local's", sample.rate / local.rate,
            "×", 0.5 if name.endswith("-1") else 0.9, at_least=True,
            note=f"{sample.rate:,.0f} against {local.rate:,.0f} req/s; {sample.cpu:.1f} against {local.cpu:.1f} µs CPU",
        )
        for name, sample in best.items()
    ]  # fmt: skip


STORE_FIGURES: dict[str, tuple[str, Measurement]] = {
    "store-full": (
        "every store with 10,000 routes and 100,000 consumers: start, memory, look-ups that miss",
        store_start,
    ),
    "store-writes": ("Admin API writes per second on every store", store_writes),
    "propagation": ("until another node serves a change, on every store", propagation),
    "limits": ("rate-limiting with policies cluster and redis against local", limits),
}
