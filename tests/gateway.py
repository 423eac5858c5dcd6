"""A real gateway in processes of its own, for the tests: temporary prefix, free ports, loopback only.

with Gateway(workers=4, env={"KONG_LOG_LEVEL": "debug"}) as gateway:
    service = gateway.create("/services", name="s", url=upstream.url)
    gateway.create("/services/s/routes", paths=["/"])
    assert requests.get(gateway.proxy_url + "/x").status_code == 200
"""

import atexit
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

import requests

from tests.wire import Client, wait_until

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
TRANSPORTS = ("gateway", "wsgi")
START_TIMEOUT = 60.0


class GatewayFailed(AssertionError):
    """The gateway did not start, or did not stop; the message carries the end of its logs."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range from which the kernel serves outgoing connections."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, max(low, 20_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in found:
                found.append(port)
    return found


class Gateway:
    """One node: its processes, ports, prefix and logs.

    workers    number of worker processes
    env        settings as ``KONG_*`` variables (or without the prefix, in lower case); None as value removes one
    database   ``sqlite`` (below the prefix), ``memory`` or ``off``
    prefix     use this folder (kept afterwards), for instance to start a second time on the same store
    transport  ``gateway``: the connection loop; ``wsgi``: the WSGI callable under gunicorn's own gevent worker
    start      False: only prepare, call ``start()`` later
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        env: Mapping[str, str | None] | None = None,
        database: str = "sqlite",
        prefix: Path | str | None = None,
        transport: str = "gateway",
        start: bool = True,
    ) -> None:
        if transport not in TRANSPORTS:
            raise ValueError(f"unknown transport {transport}")
        self.transport = transport
        self.process: subprocess.Popen[bytes] | None = None
        self._owns_prefix = prefix is None
        self.prefix = Path(prefix or tempfile.mkdtemp(prefix="kong-gevent-test-"))
        self.prefix.mkdir(parents=True, exist_ok=True)
        self.output = self.prefix.parent / f"{self.prefix.name}.output"
        self.proxy_port, self.admin_port, self.status_port = free_ports(3)
        self.settings: dict[str, str] = {
            "KONG_DATABASE": database,
            "KONG_PREFIX": str(self.prefix),
            "KONG_NGINX_WORKER_PROCESSES": str(workers),
            "KONG_LOG_LEVEL": "info",
            "KONG_ADMIN_GUI_LISTEN": "off",
        }
        for key, value in (env or {}).items():
            name = key if key.startswith("KONG_") else f"KONG_{key.upper()}"
            if value is None:
                self.settings.pop(name, None)
            else:
                self.settings[name] = value
        self._listen()
        self.session = requests.Session()
        self.session.trust_env = False
        atexit.register(self._end_processes)
        if start:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def proxy_url(self) -> str:
        """``http://127.0.0.1:port`` of the proxy listener."""
        return f"http://{LOOPBACK}:{self.proxy_port}"

    @property
    def admin_url(self) -> str:
        """``http://127.0.0.1:port`` of the Admin API."""
        return f"http://{LOOPBACK}:{self.admin_port}"

    @property
    def status_url(self) -> str:
        """``http://127.0.0.1:port`` of the status listener."""
        return f"http://{LOOPBACK}:{self.status_port}"

    @property
    def pid(self) -> int:
        """Process id of the master."""
        if self.process is None:
            raise GatewayFailed("the gateway is not running")
        return self.process.pid

    # processes

    def command(self) -> list[str]:
        """The command line that runs the gateway in the foreground."""
        if self.transport == "gateway":
            return [sys.executable, "-m", "kong_gevent", "start", "--foreground", "-p", str(self.prefix)]
        return [
            *[sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", self.settings["KONG_NGINX_WORKER_PROCESSES"]],
            *[
                "--no-control-socket",
                "--keep-alive",
                "75",
                "--forwarded-allow-ips",
                "",
                "--pid",
                str(self.prefix / "wsgi.pid"),
            ],
            *["-b", f"{LOOPBACK}:{self.proxy_port}", "kong_gevent.app:application"],
        ]

    def environment(self) -> dict[str, str]:
        """The process environment: ours without any foreign ``KONG_*``, plus the settings of this node."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("KONG_")}
        paths = [str(ROOT), own["PYTHONPATH"]] if own.get("PYTHONPATH") else [str(ROOT)]
        return {**own, **self.settings, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start and wait until the node is ready; new ports are tried when another process was faster on one."""
        for attempt in range(3):
            self._spawn()
            try:
                self.wait_ready(timeout)
                return
            except GatewayFailed as error:
                self._end_processes()
                if attempt == 2 or not re.search("address already in use", str(error), re.IGNORECASE):
                    raise
                self.proxy_port, self.admin_port, self.status_port = free_ports(3)
                self._listen()

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until ``/status/ready`` (or the proxy port of the WSGI transport) answers."""
        end = monotonic() + timeout
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None:
                code = self.process.returncode if self.process else None
                raise GatewayFailed(f"the gateway ended with code {code} before it was ready\n{self.tail()}")
            if monotonic() > end:
                raise GatewayFailed(f"the gateway was not ready after {timeout} s\n{self.tail()}")
            sleep(0.02)

    def is_ready(self) -> bool:
        """Whether the node says that it is ready now."""
        try:
            if self.transport == "wsgi":
                requests.get(self.proxy_url + "/", timeout=5)
                return True
            answer = requests.get(self.status_url + "/status/ready", timeout=5)
            # A node without a datastore is not ready before its first document, and as far as it can get.
            return answer.status_code == 200 or "empty configuration present" in answer.text
        except requests.RequestException:
            return False

    def worker_pids(self) -> list[int]:
        """Process ids of the workers: the children of the master."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if int(parent) == self.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return sorted(found)

    def send_signal(self, number: int) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def reload(self, timeout: float = START_TIMEOUT) -> None:
        """SIGHUP, then wait until none of the old workers is left and the node is ready."""
        old = set(self.worker_pids())
        self.send_signal(signal.SIGHUP)
        wait_until(lambda: (now := set(self.worker_pids())) and not old & now, timeout)
        self.wait_ready(timeout)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 90) -> int:
        """Ask the master to end (SIGTERM) and wait for it; returns its exit code."""
        process = self.process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            tail = self.tail()
            self._end_processes()
            raise GatewayFailed(f"the gateway did not end within {timeout} s\n{tail}") from None
        self._end_processes()
        return code

    def kill(self) -> None:
        """SIGKILL the master and its workers, as a machine that fails would."""
        self._end_processes()

    def close(self) -> None:
        """End the node and remove its prefix (unless it was given)."""
        self.session.close()
        self._end_processes()
        atexit.unregister(self._end_processes)
        if self._owns_prefix:
            shutil.rmtree(self.prefix, ignore_errors=True)
            self.output.unlink(missing_ok=True)

    # logs

    def log(self, name: str = "error.log") -> str:
        """Text of a file in ``<prefix>/logs`` (empty when there is none); ``output`` is what the processes printed."""
        path = self.output if name == "output" else self.prefix / "logs" / name
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, lines: int = 60) -> str:
        """The end of the output and of the error log, for failure messages."""
        parts = []
        for name in ("output", "error.log"):
            text = self.log(name).splitlines()[-lines:]
            parts.append(f"--- {name} ---\n" + "\n".join(text))
        return "\n".join(parts)

    # Admin API and proxy

    def admin(self, method: str, path: str, json: object = None, **options: Any) -> requests.Response:
        """One Admin API request; ``options`` are those of requests (data, headers, params …)."""
        options.setdefault("timeout", 30)
        return self.session.request(method, self.admin_url + path, json=json, **options)

    def create(self, collection: str, /, **fields: Any) -> dict[str, Any]:
        """POST an entity and return it; anything but a 201 fails with the answer."""
        return self._expect(201, self.admin("POST", collection, fields))

    def change(self, path: str, /, **fields: Any) -> dict[str, Any]:
        """PATCH an entity and return it."""
        return self._expect(200, self.admin("PATCH", path, fields))

    def delete(self, path: str) -> None:
        """DELETE an entity."""
        self._expect(204, self.admin("DELETE", path))

    def route(self, upstream_url: str, *, service: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """A service for this address with one route (``paths`` defaults to ``/``); returns the route."""
        made = self.create("/services", url=upstream_url, **(service or {}))
        if not fields.keys() & {"paths", "hosts", "methods", "headers", "snis"}:
            fields["paths"] = ["/"]
        return self.create(f"/services/{made['id']}/routes", **fields)

    def reset(self, collections: Sequence[str] = ("plugins", "routes", "services", "consumers")) -> None:
        """Delete every entity of these collections."""
        for collection in collections:
            while rows := self._expect(200, self.admin("GET", f"/{collection}?size=1000"))["data"]:
                for row in rows:
                    self.delete(f"/{collection}/{row['id']}")

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request through the proxy on a connection of its own; redirects are not followed."""
        options.setdefault("timeout", 30)
        options.setdefault("allow_redirects", False)
        return requests.request(method, self.proxy_url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET through the proxy."""
        return self.request("GET", path, **options)

    def client(self, timeout: float = 15) -> Client:
        """A raw connection to the proxy listener."""
        return Client(self.proxy_port, LOOPBACK, timeout)

    # inside

    def _listen(self) -> None:
        for name, port in (("PROXY", self.proxy_port), ("ADMIN", self.admin_port), ("STATUS", self.status_port)):
            wanted = self.settings.get(f"KONG_{name}_LISTEN", "")
            if not wanted or wanted.startswith(f"{LOOPBACK}:"):
                flags = wanted.partition(" ")[2]
                self.settings[f"KONG_{name}_LISTEN"] = f"{LOOPBACK}:{port} {flags}".strip()

    def _spawn(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.prefix,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that exactly our processes can be ended together
            )

    def _end_processes(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _expect(self, status: int, answer: requests.Response) -> dict[str, Any]:
        if answer.status_code != status:
            request = answer.request
            raise AssertionError(f"{request.method} {request.url}: {answer.status_code} {answer.text}\n{self.tail(20)}")
        return answer.json() if answer.content else {}
