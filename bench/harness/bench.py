"""One run of the benchmarks: the processes that stay up during it, and how a gateway is made ready for a case."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.cases import ROUTE_PATH, Case
from harness.gateway import ROOT, Addresses, Gateway, OtherGateway
from harness.load import Request, Sample, check_answer, drive, exchange
from harness.nginx import Nginx, start_proxy, start_upstream
from harness.process import BenchError, Children, free_ports, pinned, wait_for_port
from harness.secure import make_pair

SEED_SECONDS = 600
AnyTarget = Nginx | Gateway | OtherGateway


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    python: str
    rounds: int
    seconds: float
    connections: tuple[int, ...]
    gateway_core: int
    load_core: int
    big_mib: int
    other: str | None
    quick: bool


@contextmanager
def ended_on_error(gateway: Gateway | OtherGateway) -> Iterator[None]:
    """A gateway that could not be made ready must not take time from the core that others are measured on."""
    try:
        yield
    except BaseException:
        gateway.end()
        raise


class Bench:
    """Upstream, sink, talker and nginx proxy of a run, and the gateways started for its cases."""

    def __init__(self, children: Children, folder: Path, options: Options, files: int) -> None:
        self.children, self.folder, self.options, self.files = children, folder, options, files
        upstream_port, proxy_port, tls_port, sink_port, talker_port = free_ports(5)
        self.behind = Addresses(upstream_port, sink_port, talker_port, folder)
        self.pair = make_pair(folder)
        core = options.load_core
        self.upstream = start_upstream(
            children, folder / "upstream", upstream_port, core, files, big_mib=options.big_mib
        )
        self._start_script("sink", sink_port)
        self._start_script("talker", talker_port)
        ports = {"port": proxy_port, "tls": tls_port, "backend": upstream_port}
        ports |= {"sink": sink_port, "talker": talker_port}
        self.nginx: Nginx = start_proxy(children, folder / "nginx", ports, self.pair, options.gateway_core, files)
        self._instances = 0
        self._seeded: dict[int, Path] = {}

    def _start_script(self, name: str, port: int) -> None:
        """Start one of our own upstreams on the load's core."""
        script = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, str(script), str(port)]
        wait_for_port(port, self.children.start(command, self.options.load_core, self.folder / f"{name}.log"))

    def gateway(
        self, case: Case, settings: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
    ) -> Gateway | OtherGateway:
        """A started gateway, configured for a case and answering it rightly. `settings` replace the case's own."""
        if self.options.other is not None:
            if case.needs_admin:
                raise BenchError(f"{case.name} has to be configured over the Admin API")
            other = OtherGateway(self.children, self.options.other, self.folder, self.options.gateway_core, self.behind)
            with ended_on_error(other):
                check_answer(other, case.request)
            return other
        chosen = case.settings if settings is None else settings
        gateway = self.new_gateway(chosen, case.routes, environment, case.request.tls)
        with ended_on_error(gateway):
            gateway.start()
            if case.configure is not None:
                case.configure(gateway.admin, self.behind)
            check_answer(gateway, case.request)
        return gateway

    def new_gateway(
        self,
        settings: Mapping[str, str],
        routes: int = 0,
        environment: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> Gateway:
        """A gateway that is not started yet, its store seeded with `routes` routes."""
        if self.options.other is not None:
            raise BenchError("this needs our own gateway, not another program")
        self._instances += 1
        prefix = self.folder / f"gateway{self._instances}"
        prefix.mkdir()
        store = prefix / "kong.sqlite3"
        options = self.options
        gateway = Gateway(
            self.children,
            options.python,
            prefix,
            options.gateway_core,
            settings={"sqlite_path": str(store), **settings},
            environment=environment or {},
            pair=self.pair if tls else None,
        )
        if routes:
            if routes not in self._seeded:
                self._seeded[routes] = self._seed(gateway, store, routes)
            else:
                shutil.copyfile(self._seeded[routes], store)
        return gateway

    def _seed(self, gateway: Gateway, store: Path, routes: int) -> Path:
        """Fill `store`, and keep a copy for the next gateway that wants as many routes."""
        command = [self.options.python, str(Path(__file__).with_name("seed.py")), str(routes)]
        command += [f"http://127.0.0.1:{self.behind.upstream}", ROUTE_PATH]
        environment = gateway.environment | {"PYTHONPATH": str(ROOT)}
        with pinned(self.options.load_core):
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SEED_SECONDS, check=False
            )
        if done.returncode:
            raise BenchError(f"seeding {routes} routes failed:\n{done.stdout}{done.stderr[-3000:]}")
        kept = self.folder / f"routes{routes}.sqlite3"
        shutil.copyfile(store, kept)
        return kept

    def drive(
        self,
        target: AnyTarget,
        case: Case,
        connections: int,
        number: int,
        exact: bool = True,
        seconds: float | None = None,
    ) -> Sample:
        """One round of a case against one target; the upstream must have seen what was answered.

        `exact`: nobody else uses the upstream meanwhile, so that it can also be checked that it saw nothing more;
        `seconds` replace those of the command line.
        """
        before = self._seen()
        seconds = self.options.seconds if seconds is None else seconds
        sample = drive(target, case.request, connections, seconds, seed=time.time_ns() % 2**31 + number)
        seen = self._seen() - before - 1
        expected = case.proxied or (target is self.nginx and not case.cached)
        if expected and seen < sample.requests:
            raise BenchError(f"{target.name} answered {sample.requests} requests but sent only {seen} to the upstream")
        if exact and not expected and seen > 1:
            raise BenchError(f"{target.name} sent {seen} requests to the upstream that it should have answered itself")
        return sample

    def warm_up(self, target: AnyTarget, request: Request, connections: int = 64) -> None:
        """A second of load that does not count: pools filled, memory at its working size."""
        drive(target, request, connections, 1, seed=1)

    def _seen(self) -> int:
        """Requests the upstream has had so far, this question among them."""
        status = b"GET /upstream_status HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n"
        _, _, body = exchange(self.behind.upstream, status)
        return int(body.split(b"requests\n")[1].split()[2])
