"""Statistical profiler that Python imports by itself at its start when this folder is in PYTHONPATH.

Nothing happens until the process gets the signal below: then the frame that runs is counted at every tick of the CPU
clock, and at the second signal the counts are written to $BENCH_SAMPLES/PID.json. Signal handlers outlive fork, so
workers have them as well. Python runs a handler between two instructions, at the latest after the C call in progress,
so time in C and in the kernel counts for the line that made the call.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

TICK = 0.001  # seconds of CPU time; the kernel may round it up to its own tick
SWITCH = signal.SIGRTMIN + 8


class Sampler:
    """Counts of lines on top of the stack and of functions anywhere on it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._running = False
        self.lines: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def switch(self, _number: int, _frame: FrameType | None) -> None:
        """Start, or stop and write."""
        self._running = not self._running
        if self._running:
            signal.signal(signal.SIGPROF, self.count)
            signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
            return
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts = {"lines": self.lines, "functions": self.functions}
        Path(self._folder, f"{os.getpid()}.json").write_text(json.dumps(counts))

    def count(self, _number: int, frame: FrameType | None) -> None:
        """One sample."""
        if frame is None:
            return
        code = frame.f_code
        self.lines[f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"] += 1
        seen = set()
        while frame is not None:
            code = frame.f_code
            seen.add(f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}")
            frame = frame.f_back
        self.functions.update(seen)


if "BENCH_SAMPLES" in os.environ:
    signal.signal(SWITCH, Sampler(os.environ["BENCH_SAMPLES"]).switch)
