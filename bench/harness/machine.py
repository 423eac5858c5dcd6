"""What a result depends on: machine, kernel, interpreter, package versions, state of the source."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path

from harness.gateway import ROOT
from harness.load import find_wrk
from harness.nginx import find_nginx
from harness.process import BenchError

PACKAGES = (
    "gunicorn",
    "gevent",
    "greenlet",
    "gunicorn_h1c",
    "httptools",
    "google-re2",
    "Flask",
    "marshmallow",
    "orjson",
)
ASK_PYTHON = """
import importlib.metadata, json, platform, sys, sysconfig
arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
# Debian runs the profile-guided build itself, without the option, and removes the flags from what it installs.
debian = sysconfig.get_config_var("PGO_PROF_GEN_FLAG") and not sysconfig.get_config_var("PGO_PROF_USE_FLAG")
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        versions[name] = "not installed"
print(json.dumps({
    "python": platform.python_implementation() + " " + platform.python_version(),
    "pgo": "--enable-optimizations" in arguments or bool(debian),
    "lto": "--with-lto" in arguments,
    "packages": versions,
}))
"""


def _output(*command: str, both: bool = False) -> str:
    """Standard output of a command, and with `both` its standard error; empty when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
    except OSError:
        return ""
    return (done.stdout + (done.stderr if both else "")).strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def interpreter(python: str) -> dict[str, str]:
    """Version, kind of build and packages of the gateway's interpreter. Raises BenchError when it does not run."""
    answer = _output(python, "-c", ASK_PYTHON, *PACKAGES)
    if not answer:
        raise BenchError(f"{python} does not run")
    found = json.loads(answer)
    build = "PGO" if found["pgo"] else "no PGO"
    build += ", LTO" if found["lto"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return {"Python": f"{found['python']} ({build})", "Packages": packages}


def facts(python: str | None) -> dict[str, str]:
    """Name and value of everything a reader of the results must know about where they come from.

    `python` is the gateway's interpreter, None when another program is measured.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    revision = _output("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = " with uncommitted changes" if _output("git", "status", "--porcelain", "--untracked-files=no") else ""
    nginx = _output(find_nginx(), "-v", both=True).rpartition("/")[2]
    wrk = _output(find_wrk(), "-v", both=True).split("\n")[0].split(" [")[0].removeprefix("wrk ")
    return {
        "Date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "Source": revision + changed,
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, {_distribution()}",
        "Load average at the start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "nginx": nginx,
        "wrk": wrk,
        **({} if python is None else interpreter(python)),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown distribution")
    except OSError:
        return "unknown distribution"
