"""Ends the servers of a test session that was killed: `python keeper.py FOLDER PID` waits for the process PID to end,
then kills what the files in FOLDER/pids name and deletes FOLDER. A session that ends by itself ends its keeper too.

Run as a program, without the project: whatever happens to the session must not keep it from working.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path


def started(pid: int) -> str:
    """When a process was started, in ticks: tells it from a later one with the same number; empty when it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        return ""


def running(folder: Path) -> list[int]:
    """Recorded processes that still are the ones that were recorded."""
    found = []
    for record in folder.joinpath("pids").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if record.read_text() == started(int(record.name)) != "":
                found.append(int(record.name))
    return found


def end_recorded(folder: Path) -> None:
    """End every recorded process: asked first, as PostgreSQL leaves shared memory behind when it is killed."""
    for number, seconds in ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0)):
        for pid in running(folder):
            with contextlib.suppress(OSError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        end = time.monotonic() + seconds
        while running(folder) and time.monotonic() < end:
            time.sleep(0.02)


def main(folder: Path, session: int) -> None:
    """Wait for the session's end and clean up."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(session)], [], [])
    end_recorded(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Ctrl-C and SIGTERM are for the session; this process only ends after it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(Path(sys.argv[1]), int(sys.argv[2]))
