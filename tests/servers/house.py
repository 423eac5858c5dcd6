"""Where the servers of a test session live: one folder, shared by all processes of the session (pytest-xdist), and
removed at its end with everything that runs in it, however the session ends.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tests.servers.keeper import end_recorded, started
from tests.servers.process import ServerMissing

Description = dict[str, Any]


class House:
    """The session's folder.

    A session makes it with ``House()``; its other processes join with ``House(folder)``, and only ``close`` by the
    one that made it ends anything.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.owner = folder is None
        self._made: Path | None = folder
        self._numbers = count(1)
        self._threads = threading.Lock()
        self._kept: list[object] = []

    @property
    def folder(self) -> Path:
        """Made when it is first used. Ordinary users may pass through it: some servers refuse to run as root."""
        with self._threads:
            if self._made is None:
                self._made = Path(tempfile.mkdtemp(prefix="kong-gevent-servers-"))
                self._made.chmod(0o711)
                (self._made / "pids").mkdir()
                self._keeper = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("keeper.py")), str(self._made), str(os.getpid())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            return self._made

    def new_folder(self, name: str) -> Path:
        """A folder for a server of one test or module."""
        folder = self.folder / f"{name}-{os.getpid()}-{next(self._numbers)}"
        folder.mkdir()
        folder.chmod(0o711)
        return folder

    def record(self, pid: int) -> None:
        """Have a process ended with the session, should nobody end it before."""
        (self.folder / "pids" / str(pid)).write_text(started(pid))

    def keep(self, server: object) -> None:
        """Hold the object of a server that is to run until the session's end, so that nothing ends it before."""
        self._kept.append(server)

    def shared(self, name: str, start: Callable[[Path], Description]) -> tuple[Path, Description]:
        """The folder and description of a server that is started once, by whoever comes first.

        ``start`` gets the folder. Raises ServerMissing, each time with the same reason, when it could not be started.
        """
        folder = self.folder / name
        with self._lock(name):
            kept = self.folder / f"{name}.json"
            if not kept.exists():
                folder.mkdir()
                folder.chmod(0o711)
                kept.write_text(json.dumps(_try(start, folder)))
            outcome = json.loads(kept.read_text())
        if "reason" in outcome:
            raise ServerMissing(outcome["reason"])
        return folder, outcome["made"]

    def close(self) -> None:
        """End everything that was recorded and remove the folder."""
        if not self.owner or self._made is None:
            return
        end_recorded(self._made)
        shutil.rmtree(self._made, ignore_errors=True)
        self._keeper.kill()
        self._keeper.wait()
        self._made = None

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.folder / f"{name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _try(start: Callable[[Path], Description], folder: Path) -> Description:
    try:
        return {"made": start(folder)}
    except Exception as error:  # whatever it was is the reason why this server's tests fail
        return {"reason": f"{type(error).__name__}: {error}"}
