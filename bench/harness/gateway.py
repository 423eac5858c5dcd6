"""The gateway under measurement: started as a user starts it, one worker, alone on its core, in a prefix of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.process import BenchError, Children, descendants, free_ports, pinned, wait_for_port, workers_of
from harness.secure import Pair

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0


class Admin:
    """Admin API on one kept connection. http.client, because requests would cost the core shared with wrk much more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def another(self) -> Admin:
        """A second client with a connection of its own, for use in another thread."""
        return Admin(self._port)

    def call(self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
        """Send JSON, return the decoded answer (None when empty). Raises BenchError for a status of 400 or more."""
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body)
        headers = {} if payload is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, payload, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise BenchError(f"Admin API: {method} {path}: {error!r}") from error
        if answer.status >= 400:
            raise BenchError(f"Admin API: {method} {path} {str(payload)[:500]}: {answer.status} {data[:500]!r}")
        return json.loads(data) if data else None

    def post(self, path: str, **body: Any) -> Any:
        """Create an entity and return it."""
        return self.call("POST", path, body)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True)
class Addresses:
    """Where the things behind the gateway are: ports on 127.0.0.1, and a folder that plugins may write to."""

    upstream: int
    sink: int
    talker: int
    folder: Path


class Gateway:
    """One instance of Kong-gevent; a `load.Target` once started. It listens for TLS as well if it gets a `pair`."""

    name = "gateway"

    def __init__(
        self,
        children: Children,
        python: str,
        prefix: Path,
        core: int,
        settings: Mapping[str, str],
        environment: Mapping[str, str],
        pair: Pair | None = None,
    ) -> None:
        self._children, self._python, self._prefix, self.core, self._pair = children, python, prefix, core, pair
        self.port, self.tls_port, self.admin_port, self._status_port = free_ports(4)
        self._settings, self._environment = dict(settings), dict(environment)
        self._master = 0
        self._admin: Admin | None = None
        self.workers: Sequence[int] = ()

    @property
    def settings(self) -> dict[str, str]:
        """Kong settings of this instance, by their names in the configuration file."""
        return {
            "prefix": str(self._prefix),
            "proxy_listen": f"127.0.0.1:{self.port} backlog=8192",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "status_listen": f"127.0.0.1:{self._status_port}",
            "admin_gui_listen": "off",
            "nginx_worker_processes": "1",
            "proxy_access_log": "off",
            "admin_access_log": "off",
            "database": "sqlite",
            **self._tls_settings(),
            **self._settings,
        }

    def _tls_settings(self) -> dict[str, str]:
        if self._pair is None:
            return {}
        listen = f"127.0.0.1:{self.port} backlog=8192, 127.0.0.1:{self.tls_port} ssl backlog=8192"
        certificate, key = str(self._pair.certificate), str(self._pair.key)
        return {"proxy_listen": listen, "ssl_cert": certificate, "ssl_cert_key": key}

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the gateway's commands: nothing of the caller's own Kong settings."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("KONG_")}
        return own | self._environment | {f"KONG_{name.upper()}": value for name, value in self.settings.items()}

    @property
    def admin(self) -> Admin:
        """The Admin API of this instance."""
        if self._admin is None:
            self._admin = Admin(self.admin_port)
        return self._admin

    def command(self, *arguments: str, seconds: float = START_SECONDS) -> None:
        """Run a command of the gateway to its end on the gateway's core. Raises BenchError with its output."""
        line = [self._python, "-m", "kong_gevent", *arguments]
        # A file, not a pipe: a daemon that keeps its standard output open must not keep us waiting.
        with pinned(self.core), (self._prefix.parent / f"{self._prefix.name}.out").open("w+") as output:
            try:
                done = subprocess.run(
                    line, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, timeout=seconds, check=False, start_new_session=True,
                )  # fmt: skip
                problem = f"exit code {done.returncode}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                problem = f"not done after {seconds:.0f} s"
            output.seek(0)
            text = output.read()
        if problem:
            raise BenchError(f"{' '.join(line)}: {problem}\n{text[-3000:]}{self._error_log()}")

    def start(self) -> float:
        """Start; return the seconds until the command reported that everything answers."""
        before = time.monotonic()
        try:
            self.command("start", "-p", str(self._prefix))
        finally:
            self._master = self._find_master()  # a start that failed may have left one behind as well
        seconds = time.monotonic() - before
        if not self._master:
            raise BenchError(f"no process id of a running gateway in {self._prefix}/pids")
        self.workers = self._find_workers()
        return seconds

    def stop(self) -> None:
        """Stop gracefully, so that a later `start` finds what was written."""
        self._forget()
        self.command("stop", "-p", str(self._prefix))

    def end(self) -> None:
        """End at once; nothing of this instance is needed any more."""
        self._forget()
        if self._master:
            self._children.kill(self._master)

    def _forget(self) -> None:
        if self._admin is not None:
            self._admin.close()
        self._admin, self.workers = None, ()

    def _find_master(self) -> int:
        for file in sorted((self._prefix / "pids").glob("*.pid")):
            pid = int(file.read_text().split()[0])
            if pid in descendants(os.getpid()):
                return pid
        return 0

    def _find_workers(self) -> Sequence[int]:
        with contextlib.suppress(BenchError):
            told = (self.admin.call("GET", "/") or {}).get("pids", {}).get("workers")
            if told:
                return tuple(told)
        return workers_of(self._master)

    def _error_log(self) -> str:
        log = self._prefix / "logs" / "error.log"
        return f"\n{log}:\n{log.read_text()[-3000:]}" if log.is_file() else ""


class OtherGateway:
    """Any other reverse proxy, given as a command line; without Admin API, so only cases without configuration fit."""

    name = "gateway"
    tls_port = 0

    def __init__(self, children: Children, command: str, folder: Path, core: int, behind: Addresses) -> None:
        self._children, self.core = children, core
        (self.port,) = free_ports(1)
        filled = command.replace("{port}", str(self.port)).replace("{upstream}", str(behind.upstream))
        log = folder / "other.log"
        self._process = children.start(shlex.split(filled.replace("{sink}", str(behind.sink))), core, log)
        try:
            wait_for_port(self.port, self._process)
        except BenchError as error:
            raise BenchError(f"{error}\n{log.read_text()[-2000:]}") from error
        self.workers: Sequence[int] = workers_of(self._process.pid)

    def end(self) -> None:
        """End at once."""
        self._children.kill(self._process.pid)


def in_parallel(jobs: int, work: Callable[[int], None]) -> None:
    """Call work(0..jobs-1) in a thread each; the first exception is raised again."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(work, number) for number in range(jobs)]:
            future.result()
