"""Child processes: started on a chosen core, measured through /proc, and ended by process id whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 4.0


class BenchError(Exception):
    """The benchmark cannot go on; the text says why and is all the user sees."""


class Cpu(NamedTuple):
    """CPU time in seconds, all threads of a process."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, earlier: object) -> Cpu:
        if not isinstance(earlier, Cpu):
            return NotImplemented
        return Cpu(self.user - earlier.user, self.system - earlier.system)


class CoreTime(NamedTuple):
    """Seconds a core has spent in processes and seconds the hypervisor took away from it."""

    busy: float
    stolen: float


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes started inside the block inherit this core; the harness returns to its own afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (the second, the name, may hold spaces and parentheses)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_time(pids: Sequence[int]) -> Cpu:
    """CPU time used so far by the processes together. Raises BenchError when one has died."""
    user = system = 0
    for pid in pids:
        try:
            fields = _stat_fields(pid)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise BenchError(f"the measured process {pid} has died") from error
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)


def core_time(core: int) -> CoreTime:
    """What /proc/stat says about a core; interrupts are left out because they belong to nobody."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system = (int(value) for value in values[:3])
            return CoreTime((user + nice + system) / TICKS_PER_SECOND, int(values[7]) / TICKS_PER_SECOND)
    raise BenchError(f"this machine has no core {core}")


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise BenchError(f"/proc/{pid}/status has no {field}")


def rss_kib(pids: Sequence[int]) -> int:
    """Resident memory now, KiB, processes together."""
    return sum(_status_kib(pid, "VmRSS:") for pid in pids)


def reset_peak_rss(pids: Sequence[int]) -> None:
    """Make `peak_rss_kib` count from now (proc(5), clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss_kib(pids: Sequence[int]) -> int:
    """Highest resident memory since `reset_peak_rss`, KiB, processes together."""
    return sum(_status_kib(pid, "VmHWM:") for pid in pids)


def _parents() -> dict[int, int]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[int(entry)] = int(_stat_fields(int(entry))[1])
    return found


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, parents before their children."""
    parents = _parents()
    found = [pid]
    for current in found:
        found.extend(child for child, parent in parents.items() if parent == current)
    return found[1:]


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that live: cheaper than `descendants`, which looks at every process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def leaves(pid: int) -> list[int]:
    """The processes below `pid` (or itself) that have no children: the workers of a master."""
    parents = _parents()
    family = [pid, *descendants(pid)]
    return [member for member in family if member not in parents.values() and not _serves_a_cache(member)]


def _serves_a_cache(pid: int) -> bool:
    """Whether it is one of nginx's helpers for its cache; the loader ends a minute after the start."""
    try:
        return b"nginx: cache" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def workers_of(pid: int, seconds: float = 2.0) -> tuple[int, ...]:
    """The workers of a master that may still be forking them; the process itself when it stays without children."""
    end = time.monotonic() + seconds
    while not descendants(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return tuple(leaves(pid))


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 15.0) -> None:
    """Return when something accepts on 127.0.0.1:port. Raises BenchError after `seconds` or when `process` ends."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if process is not None and process.poll() is not None:
                raise BenchError(f"{process.args!r} ended with exit code {process.returncode}") from error
            if time.monotonic() > end:
                raise BenchError(f"nothing answers on 127.0.0.1:{port} after {seconds:.0f} s") from error
            time.sleep(0.02)


def allow_open_files(wanted: int) -> int:
    """Raise this process's (and its children's) limit of open files towards `wanted`; return what was reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    with contextlib.suppress(ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Children:
    """All processes of a run. As a context manager it leaves none behind, also not daemons that left their parent."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Children:
        # Daemons started by a child become ours instead of init's, so that they are found and ended.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise BenchError("prctl(PR_SET_CHILD_SUBREAPER) failed")
        return self

    def __exit__(self, *_exc: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if self._end(descendants(os.getpid()), number, patience):
                break
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(self, command: Sequence[str], core: int, log: Path) -> subprocess.Popen[bytes]:
        """Start a program on a core, in a session of its own (Ctrl-C reaches the harness alone), output to `log`."""
        with pinned(core), log.open("ab") as output:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._processes.append(process)
        return process

    def kill(self, pid: int) -> None:
        """End a process and everything below it at once."""
        self._end([pid, *descendants(pid)], signal.SIGKILL, STOP_SECONDS)

    def _end(self, pids: list[int], number: signal.Signals, patience: float) -> bool:
        """Signal processes and wait for their end; False when some are still there after `patience` seconds."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            self._reap()
            pids = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
            if not pids:
                return True
            time.sleep(0.02)
        return False

    def _reap(self) -> None:
        """Collect ended children, the adopted ones too. Popen objects first: they must keep their exit code."""
        for process in self._processes:
            process.poll()
        self._processes = [process for process in self._processes if process.returncode is None]
        known = {process.pid for process in self._processes}
        for pid, parent in _parents().items():
            if parent == os.getpid() and pid not in known:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
