"""The command ``bench/profile``: a case under load with a sampling profiler in the worker, or under perf."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.added import ADDITIONS, balanced, case_of
from harness.bench import Bench, Options
from harness.cases import CASES
from harness.cli import default_python, prepare, say
from harness.gateway import ROOT
from harness.process import BenchError, Children
from harness.ratios import brief

SAMPLER = Path(__file__).with_name("sampler")
SWITCH = signal.SIGRTMIN + 8  # as in sampler/sitecustomize.py
WARM_UP_SECONDS = 1.5
KNOWN = {case.name: case for case in (*CASES, *map(case_of, ADDITIONS), balanced())}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="bench/profile", description="Show where the gateway's worker spends its CPU time in a case of bench/run."
    )
    made.add_argument("case", choices=KNOWN)
    made.add_argument("--seconds", type=float, default=5)
    made.add_argument("--connections", type=int, default=64)
    made.add_argument("--top", type=int, default=40, help="lines of each list (default 40)")
    made.add_argument("--python", default=default_python())
    made.add_argument("--perf", action="store_true", help="use perf: C functions and the kernel instead of Python")
    return made


def sampled(pids: Sequence[int], folder: Path, seconds: float) -> dict[str, Counter[str]]:
    """Switch the samplers of the processes on for a while; return their counts together."""
    for _ in range(2):
        for pid in pids:
            os.kill(pid, SWITCH)
        time.sleep(seconds)
    found: dict[str, Counter[str]] = {"lines": Counter(), "functions": Counter()}
    for file in folder.glob("*.json"):
        for kind, counts in json.loads(file.read_text()).items():
            found[kind].update(counts)
    return found


def perf(pids: Sequence[int], folder: Path, seconds: float, top: int) -> str:
    """Report of perf on the processes."""
    program = shutil.which("perf")
    if program is None:
        raise BenchError("perf is not installed: apt-get install linux-perf")
    data = str(folder / "perf.data")
    record = [program, "record", "-q", "-F", "999", "-o", data, "-p", ",".join(map(str, pids)), "--"]
    done = subprocess.run([*record, "sleep", str(seconds)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"perf record failed: {done.stderr[-1000:]}")
    report = subprocess.run(
        [program, "report", "-q", "-i", data, "--stdio", "--sort", "dso,symbol"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "\n".join([line.rstrip(" -") for line in report.stdout.splitlines() if line.strip()][:top])


def ranking(counts: Counter[str], total: int, top: int) -> str:
    """The most frequent entries with their share."""
    lines = []
    for name, count in counts.most_common(top):
        lines.append(f"{count / total:7.1%}  {name.replace(f'{ROOT}/', '').split('/site-packages/')[-1]}")
    return "\n".join(lines)


def by_function(lines: Counter[str]) -> Counter[str]:
    """Counts of lines as counts of the functions they are in."""
    functions: Counter[str] = Counter()
    for name, count in lines.items():
        place, _, function = name.rpartition(" ")
        functions[f"{place.rpartition(':')[0]} {function}"] += count
    return functions


def profile(bench: Bench, parsed: argparse.Namespace, folder: Path) -> str:
    """Put the case's gateway under load and look at it meanwhile."""
    case = KNOWN[parsed.case]
    extra = {} if parsed.perf else {"PYTHONPATH": str(SAMPLER), "BENCH_SAMPLES": str(folder)}
    gateway = bench.gateway(case, environment=extra)
    try:
        load = threading.Thread(
            target=lambda: say(brief(bench.drive(gateway, case, parsed.connections, 0))), daemon=True
        )
        load.start()
        time.sleep(WARM_UP_SECONDS)
        if parsed.perf:
            text = perf(gateway.workers, folder, parsed.seconds, parsed.top)
        else:
            counts = sampled(gateway.workers, folder, parsed.seconds)
            total = sum(counts["lines"].values())
            if not total:
                raise BenchError("no samples were taken")
            parts = (
                (
                    "functions, own time (calls into C and the kernel count for the caller)",
                    by_function(counts["lines"]),
                ),
                ("lines, own time", counts["lines"]),
                ("functions, with what they call", counts["functions"]),
            )
            text = f"{total} samples\n" + "\n".join(
                f"\n{title}\n{ranking(each, total, parsed.top)}" for title, each in parts
            )
        load.join()
        return text
    finally:
        gateway.end()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when there is a profile."""
    parsed = parser().parse_args(arguments)
    options = Options(
        python=parsed.python,
        rounds=1,
        seconds=parsed.seconds + 2 * WARM_UP_SECONDS,
        connections=(parsed.connections,),
        gateway_core=0,
        load_core=1,
        big_mib=1,
        other=None,
        quick=True,
    )
    try:
        files = prepare(options)
        with tempfile.TemporaryDirectory(prefix="kong-bench-") as name, Children() as children:
            folder = Path(name)
            samples = folder / "samples"
            samples.mkdir()
            print(profile(Bench(children, folder, options, files), parsed, samples))
    except BenchError as error:
        print(f"bench/profile: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
