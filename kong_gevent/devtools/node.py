"""One Cassandra daemon: start, readiness, graceful and sudden end. It outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kong_gevent.devtools.errors import ToolError
from kong_gevent.devtools.java import DAEMON, Place

STOP_SECONDS = 60.0
_TAIL_BYTES = 65536


class Node:
    """A daemon in a folder; its process is found again by the pid file there.

    address  loopback address it listens on
    command  makes its command line when it is started
    answers  says whether it serves
    started  is told the process id of a daemon that was started
    """

    def __init__(
        self,
        place: Place,
        address: str,
        command: Callable[[], list[str]],
        answers: Callable[[], bool],
        started: Callable[[int], None],
    ) -> None:
        self.place = place
        self.address = address
        self._command = command
        self._answers = answers
        self._started = started
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid_file(self) -> Path:
        """Where its process id is kept."""
        return self.place.folder / "pid"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs; a process that only has got the same number since does not count."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            return None
        ours = DAEMON.encode() in command and os.fsencode(self.place.conf) in command
        return pid if ours and state not in "ZX" else None

    def start(self) -> None:
        """Start without waiting; no effect while it runs."""
        if self.pid:
            return
        with (self.place.logs / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command(), cwd=self.place.folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.pid_file.write_text(str(self._process.pid))
        self._started(self._process.pid)

    def ready(self) -> bool:
        """Whether it serves now. Raises ToolError with the end of its log when it has ended."""
        if self._answers():
            return True
        # The command line appears a moment after the fork.
        if self._process is None or self._process.poll() is not None:
            if not self.pid:
                raise ToolError(f"Cassandra on {self.address} ended before it was ready: {self.tail()}")
        return False

    def wait(self, seconds: float) -> None:
        """Wait until it serves. Raises ToolError when it ends or is not ready in time."""
        end = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > end:
                raise ToolError(f"Cassandra on {self.address} was not ready after {seconds:g} s: {self.tail()}")
            time.sleep(0.1)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let it drain and end (SIGTERM); it is killed when that takes longer than `seconds`."""
        self._end(signal.SIGTERM, seconds)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a machine that fails would."""
        self._end(signal.SIGKILL, 10)

    def pause(self) -> None:
        """Stop it from answering while its connections stay (SIGSTOP)."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; no effect when it does not run."""
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log(self) -> str:
        """The end of its log (64 KiB at most)."""
        for name in ("system.log", "output.log"):
            path = self.place.logs / name
            if path.is_file() and path.stat().st_size:
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
                    return file.read().decode("utf-8", "replace")
        return ""

    def tail(self) -> str:
        """The last errors of its log, else its last line, and where it is."""
        lines = [line for line in self.log().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "Error", "Exception", "Unrecognized"))]
        said = " / ".join((errors or lines)[-2:])[:600] or "no output"
        return f"{said} (more in {self.place.logs})"

    def _end(self, number: signal.Signals, seconds: float) -> None:
        end = time.monotonic() + seconds
        if self.pid:
            # A paused process acts on nothing but SIGKILL.
            self.send(number)
            self.send(signal.SIGCONT)
        while self.pid and time.monotonic() < end:
            time.sleep(0.02)
        if not self.pid:
            self.pid_file.unlink(missing_ok=True)
            if self._process is not None:
                self._process.wait()
                self._process = None
