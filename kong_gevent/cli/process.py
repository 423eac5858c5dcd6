"""The processes of a gateway as the command line sees them: pid file, signals, start lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

_LISTEN = "0A"
"""The state of a listening socket in the kernel's tables."""
_MARKS = (b"kong_gevent", b"gunicorn")


def pid_file(prefix: str) -> Path:
    """Where the master writes its process id."""
    return Path(prefix, "pids", "kong.pid")


def read_pid(prefix: str) -> int | None:
    """The process id in the pid file, None when there is none or it cannot be one."""
    try:
        pid = int(pid_file(prefix).read_text())
    except (OSError, ValueError):
        return None
    # 0 and negative numbers mean groups of processes to kill(2); 1 is the system's first process or a container's.
    return pid if pid > 0 else None


def running_pid(prefix: str) -> int | None:
    """Process id of the master that works in `prefix`; a pid that another program has got since does not count."""
    pid = read_pid(prefix)
    return pid if pid and alive(pid) and _is_ours(pid, prefix) else None


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) not in ("Z", "X")


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def _is_ours(pid: int, prefix: str) -> bool:
    """Judge by command line and environment where the system shows them; where it does not, believe the pid file."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    if not any(mark in command for mark in _MARKS):
        return False
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return True
    named = [value for value in variables if value.startswith(b"KONG_PREFIX=")]
    return not named or named == [b"KONG_PREFIX=" + os.fsencode(prefix)]


def children(pid: int) -> set[int]:
    """Process ids of the children of a process; empty where the system does not show them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(stat.parent.name))
    return found


def listens(pid: int) -> bool:
    """Whether a process still holds a listening TCP socket; False where the system does not show it."""
    listening = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
            listening |= {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTEN}
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) in listening:
                    return True
    return False


def send(pid: int, number: signal.Signals) -> None:
    """Signal the master. Raises ClickException when the system refuses; a master that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(pid, number)
        except PermissionError:
            raise click.ClickException(
                f"no permission to signal the gateway (process {pid}); it belongs to another user"
            ) from None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; False when it did not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait for a process to end."""
    return wait_until(lambda: not alive(pid), seconds)


def kill(pid: int) -> None:
    """End a master and its workers at once, and wait until they are gone."""
    workers = children(pid)
    for process in (pid, *workers):
        send(process, signal.SIGKILL)
    for process in (pid, *workers):
        wait_gone(process, 5)


def forget(prefix: str, pid: int) -> None:
    """Remove the pid file of a process that is gone, unless it names another one by now."""
    if read_pid(prefix) == pid:
        pid_file(prefix).unlink(missing_ok=True)


def require_running(prefix: str) -> int:
    """Process id of the running master. Raises ClickException as Kong does when there is none."""
    pid = running_pid(prefix)
    if pid is None:
        stale = read_pid(prefix)
        detail = f"the process {stale} of {pid_file(prefix)} is gone" if stale else f"no pid file {pid_file(prefix)}"
        raise click.ClickException(f"Kong is not running in {prefix}: {detail}")
    return pid


@contextlib.contextmanager
def start_lock(prefix: str) -> Iterator[None]:
    """Let one start, restart or reload work in a prefix at a time. Raises ClickException when another one does.

    The lock belongs to this process and ends with it, so a killed command leaves nothing behind.
    """
    try:
        lock = os.open(Path(prefix, "pids", "start.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise click.ClickException(f"cannot lock the prefix {prefix}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(
                f"another start or reload is under way in {prefix}; wait for it, or use another prefix"
            ) from None
        yield
    finally:
        os.close(lock)
