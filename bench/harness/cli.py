"""The command ``bench/run``."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from harness import machine
from harness.added import ADDED
from harness.bench import Bench, Options
from harness.cases import CASES
from harness.connections import CONNECTIONS
from harness.figures import FIGURES as NODE_FIGURES
from harness.figures import IDLE_CLIENTS, SPARE_FILES, Figure
from harness.gateway import ROOT
from harness.hostile import HOSTILE
from harness.imports import IMPORTS
from harness.load import find_wrk
from harness.many_certificates import CERTIFICATES
from harness.nginx import find_nginx
from harness.process import BenchError, Children, allow_open_files
from harness.ratios import Row, measure
from harness.recovery import RECOVERY_FIGURES
from harness.report import build, write
from harness.scrape import SCRAPES
from harness.stores import STORE_FIGURES

FIGURES = {
    **ADDED, **NODE_FIGURES, **CONNECTIONS, **CERTIFICATES, **SCRAPES, **IMPORTS, **HOSTILE, **STORE_FIGURES,
    **RECOVERY_FIGURES,
}  # fmt: skip
EPILOG = """\
examples:
  bench/run                                   everything, about an hour on a quiet machine
  bench/run plain key-auth --connections 64   two cases at one number of connections
  bench/run +jwt +acl                         what two plugins add to a request ('+*': what each adds)
  bench/run --quick                           a rough look in a few minutes
  bench/run --write                           everything, and bench/RESULTS.md anew
  bench/run plain 100k --other 'prog --listen {port} --to {upstream}'
                                              another proxy in the gateway's place
"""


def _numbers(text: str) -> tuple[int, ...]:
    values = tuple(int(part) for part in text.split(","))
    if min(values) < 1:
        raise ValueError(text)
    return values


def default_python() -> str:
    """The virtual environment of bin/kong-gevent or else of bin/test, where there is one, or what runs this."""
    for folder in (os.environ.get("KONG_GEVENT_VENV"), ROOT / ".venv", ROOT / ".venv-test"):
        if folder is not None and (python := Path(folder, "bin", "python")).is_file():
            return str(python)
    return sys.executable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure the gateway against nginx as a reverse proxy, both on one core, in the same run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("cases", nargs="*", help="what to measure (default: everything; --list shows the names)")
    made.add_argument("--list", action="store_true", help="show the cases and end")
    made.add_argument("--rounds", type=int, help="rounds per target and case (default 3, with --quick 2)")
    made.add_argument("--seconds", type=float, help="seconds per round (default 5, with --quick 2)")
    made.add_argument("--connections", type=_numbers, help="wrk's connections (default 16,64,256, with --quick 64)")
    made.add_argument(
        "--quick", action="store_true", help="few and short rounds; smaller bodies and fewer idle clients"
    )
    made.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    made.add_argument("--python", default=default_python(), help="the gateway's (default: .venv, or this one)")
    made.add_argument("--gateway-core", type=int, default=0, help="core of the gateway and of nginx (default 0)")
    made.add_argument("--load-core", type=int, default=1, help="core of wrk and the upstream (default 1)")
    made.add_argument("--body-mib", type=int, help="size of the big upload and download (default 1024, --quick 128)")
    made.add_argument("--tmp", type=Path, help="folder for temporary files; nginx buffers the big bodies there")
    made.add_argument(
        "--other",
        metavar="COMMAND",
        help="measure another proxy; {port}, {upstream} and {sink} in the command stand for ports",
    )
    return made


def options_of(arguments: argparse.Namespace) -> Options:
    """Options with the defaults that depend on others."""
    quick = arguments.quick
    return Options(
        python=arguments.python,
        rounds=max(1, arguments.rounds or (2 if quick else 3)),
        seconds=arguments.seconds or (2 if quick else 5),
        connections=arguments.connections or ((64,) if quick else (16, 64, 256)),
        gateway_core=arguments.gateway_core,
        load_core=arguments.load_core,
        big_mib=arguments.body_mib or (128 if quick else 1024),
        other=arguments.other,
        quick=quick,
    )


def chosen(names: Sequence[str]) -> list[str]:
    """The cases to run in their order; names may be patterns. Raises BenchError for an unknown one."""
    known = [case.name for case in CASES] + list(FIGURES)
    unknown = [name for name in names if not fnmatch.filter(known, name)]
    if unknown:
        raise BenchError(f"unknown case {', '.join(unknown)}; there are: {' '.join(known)}")
    return [case for case in known if not names or any(fnmatch.fnmatchcase(case, name) for name in names)]


def prepare(options: Options) -> int:
    """Refuse a machine that cannot do it, go to the load's core; return how many files may be open."""
    find_nginx()
    find_wrk()
    available = os.sched_getaffinity(0)
    if options.gateway_core == options.load_core or not {options.gateway_core, options.load_core} <= available:
        raise BenchError(
            f"gateway and load need a core each: {options.gateway_core} and {options.load_core} were asked for,"
            f" available are {sorted(available)}"
        )
    os.sched_setaffinity(0, {options.load_core})
    return allow_open_files(2 * IDLE_CLIENTS + SPARE_FILES)


def show_list() -> None:
    """Names and titles of everything that can be measured."""
    for case in CASES:
        print(f"{case.name:24}{case.title}")
    for name, (title, _) in FIGURES.items():
        print(f"{name:24}{title}")


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


def run(bench: Bench, names: Sequence[str]) -> tuple[list[Row], list[Figure], dict[str, str]]:
    """Measure the named cases; one that fails is reported and does not end the others."""
    rows: list[Row] = []
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    cases = {case.name: case for case in CASES}
    for name in names:
        say(f"{name}: {cases[name].title if name in cases else FIGURES[name][0]}")
        try:
            if name in cases:
                rows += measure(bench, cases[name], say)
            else:
                figures += FIGURES[name][1](bench, say)
        except (BenchError, OSError) as error:
            failed[name] = str(error)
            say(f"  NOT MEASURED: {error}")
    return rows, figures, failed


def _terminated(_number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when everything was measured, 1 when a case failed, 2 when nothing could start."""
    parsed = parser().parse_args(arguments)
    if parsed.list:
        show_list()
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    try:
        names = chosen(parsed.cases)
        if parsed.write and parsed.other:
            raise BenchError("--write is for our own gateway, not for another program")
        options = options_of(parsed)
        files = prepare(options)
        facts = machine.facts(None if options.other else options.python)
        with tempfile.TemporaryDirectory(prefix="kong-bench-", dir=parsed.tmp) as folder, Children() as children:
            rows, figures, failed = run(Bench(children, Path(folder), options, files), names)
    except BenchError as error:
        say(f"bench/run: {error}")
        return 2
    except KeyboardInterrupt:
        say("bench/run: interrupted; everything that was started is ended")
        return 130
    how = shlex.join(["bench/run", *_without_paths(sys.argv[1:] if arguments is None else arguments)])
    report = build({**facts, "Command": how}, rows, figures, failed)
    print(report.text())
    if parsed.write:
        say(write(report, everything=not parsed.cases))
    return 1 if failed else 0


def _without_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--python` and `--tmp`, which only mean something on one machine."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--python", "--tmp"):
            skip = True
        elif not argument.startswith(("--python=", "--tmp=")):
            kept.append(argument)
    return kept
