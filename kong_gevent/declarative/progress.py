"""How far a job is: told in a file below the prefix, which every worker of the node can read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kong_gevent.db import codec

NAME = "config-job"
"""The file, below the prefix."""
INTERVAL = 0.2
"""Seconds between two entries."""
Begin = Callable[[str, int | None], None]
"""Hears which part of the work begins, and how many entities it is about (None: that will be seen)."""


def unheard(doing: str, total: int | None) -> None:
    """For work that nobody looks at."""


class JobProgress:
    """Notes how far this process is, if that can be noted. A context manager: nothing is left when it has ended."""

    def __init__(self, prefix: str) -> None:
        self._file = Path(prefix, NAME)
        self._new = self._file.with_name(f"{NAME}.{os.getpid()}")
        self._doing, self._done = "", 0
        self._total: int | None = None
        self._noted = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):
            self._new.unlink(missing_ok=True)
            if _noted(self._file).get("pid") == os.getpid():
                self._file.unlink(missing_ok=True)

    def begin(self, doing: str, total: int | None) -> None:
        """See `Begin`."""
        self._doing, self._done, self._total = doing, 0, total
        self._note()

    def advance(self, count: int) -> None:
        """So many entities more have been dealt with."""
        self._done += count
        if time.monotonic() - self._noted >= INTERVAL:
            self._note()

    def _note(self) -> None:
        self._noted = time.monotonic()
        state = {"pid": os.getpid(), "doing": self._doing, "done": self._done, "total": self._total}
        with suppress(OSError):  # a full disk here is no reason to leave a datastore elsewhere unchanged
            self._new.write_bytes(codec.dumps(state))
            self._new.replace(self._file)


def progress_of(prefix: str) -> dict[str, Any]:
    """What the job of a node does (`doing`), `done` and `total` in entities; all None while there is none."""
    found = _noted(Path(prefix, NAME))
    if not found or not Path(f"/proc/{found['pid']}").exists():
        found = {}  # none, or one that was killed
    return {name: found.get(name) for name in ("doing", "done", "total")}


def _noted(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = codec.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found
