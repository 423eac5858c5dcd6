"""Load by wrk on keep-alive connections, and the CPU time the measured processes need for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.process import BenchError, core_time, cpu_time, rss_kib
from harness.secure import ANSWER_SECONDS, connected

SCRIPT = Path(__file__).with_name("load.lua")
# What a browser-like client sends besides what a case adds: with Host nine fields, an ordinary size of head.
COMMON_HEADERS = (
    "Host: bench.example",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: https://bench.example/dashboard/overview",
    "Cookie: theme=dark; session=4f1c6d20b7a94d1f8e1a",
    "Cache-Control: no-cache",
    "DNT: 1",
)


class Target(Protocol):
    """A server under measurement. `workers` are the processes whose CPU time counts, all on `core`."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls_port(self) -> int: ...
    @property
    def workers(self) -> Sequence[int]: ...
    @property
    def core(self) -> int: ...


@dataclass(frozen=True)
class Request:
    """What is asked for. `{index}` (0..count-1) and `{hex}` in path and headers are drawn anew for each request."""

    path: str
    headers: tuple[str, ...] = ()
    count: int = 1
    status: int = 200
    length: int = 1024
    tls: bool = False

    def text(self) -> str:
        """The request's bytes as wrk sends them, placeholders still inside."""
        lines = [f"GET {self.path} HTTP/1.1", *COMMON_HEADERS, *self.headers]
        return "".join(f"{line}\r\n" for line in lines) + "\r\n"

    def example(self, index: int = 0) -> bytes:
        """One concrete request."""
        return self.text().replace("{index}", str(index)).replace("{hex}", "0123456789abcdef").encode()


@dataclass(frozen=True)
class Sample:
    """One run of wrk against one target. Latencies in ms, CPU in µs per completed request, shares of one core 0..1."""

    requests: int
    seconds: float
    p50: float
    p99: float
    worst: float
    cpu_user: float
    cpu_system: float
    core_use: float
    foreign: float
    stolen: float
    rss_kib: int
    statuses: int
    broken: int

    @property
    def rate(self) -> float:
        """Completed requests per second."""
        return self.requests / self.seconds

    @property
    def cpu(self) -> float:
        """CPU µs per request, user and system."""
        return self.cpu_user + self.cpu_system


def find_wrk() -> str:
    """Path of wrk. Raises BenchError."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk is not installed: apt-get install wrk")
    return found


def exchange(port: int, request: bytes, tls: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send one request on a new connection; return status, headers (names in lower case) and body."""
    with connected(port, tls) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            status_line = answer.readline()
            if not status_line:
                raise BenchError(f"127.0.0.1:{port} closed the connection without an answer")
            headers = {}
            while (line := answer.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            length = headers.get("content-length")
            body = b"" if length is None else answer.read(int(length))
    return int(status_line.split()[1]), headers, body


def check_answer(target: Target, request: Request) -> None:
    """Refuse to measure wrong answers: the first, middle and last possible request must be answered as expected."""
    for index in sorted({0, request.count // 2, request.count - 1}):
        port = target.tls_port if request.tls else target.port
        status, _, body = exchange(port, request.example(index), request.tls)
        if status != request.status or (status == 200 and len(body) != request.length):
            wanted = f"{request.status} and {request.length} bytes" if request.status == 200 else str(request.status)
            raise BenchError(
                f"{target.name} answers {request.path.format(index=index, hex='0')} with {status} and {len(body)} bytes"
                f" instead of {wanted}: {body[:120]!r}"
            )


def drive(target: Target, request: Request, connections: int, seconds: float, seed: int) -> Sample:
    """Run wrk for `seconds` (whole seconds are all wrk knows) and measure the target's workers meanwhile."""
    with tempfile.NamedTemporaryFile("w", suffix=".http", newline="") as file:
        file.write(request.text())
        file.flush()
        whole = max(1, round(seconds))
        command = [find_wrk(), "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", f"{ANSWER_SECONDS}s"]
        url = f"https://127.0.0.1:{target.tls_port}/" if request.tls else f"http://127.0.0.1:{target.port}/"
        command += ["-s", str(SCRIPT), url, "--"]
        command += [file.name, str(request.count), str(seed)]
        cpu, core = cpu_time(target.workers), core_time(target.core)
        output = subprocess.run(command, capture_output=True, text=True, timeout=whole + 30, check=False)
        cpu, core_after = cpu_time(target.workers) - cpu, core_time(target.core)
    line = next((line for line in output.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchError(f"wrk failed: {output.stdout[-500:]} {output.stderr[-500:]}")
    counted = json.loads(line.removeprefix("RESULT "))
    done = counted["requests"]
    if not done:
        raise BenchError(f"{target.name} completed no request in {whole} s at {connections} connections")
    duration = counted["microseconds"] / 1e6
    return Sample(
        requests=done,
        seconds=duration,
        p50=counted["p50"] / 1000,
        p99=counted["p99"] / 1000,
        worst=counted["max"] / 1000,
        cpu_user=cpu.user / done * 1e6,
        cpu_system=cpu.system / done * 1e6,
        core_use=cpu.total / duration,
        foreign=max(0.0, core_after.busy - core.busy - cpu.total) / duration,
        stolen=(core_after.stolen - core.stolen) / duration,
        rss_kib=rss_kib(target.workers),
        statuses=counted["status"],
        broken=counted["connect"] + counted["read"] + counted["write"] + counted["timeout"],
    )
