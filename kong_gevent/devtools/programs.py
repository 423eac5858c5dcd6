"""The programs that a local Cassandra needs, and how to get them on Debian."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kong_gevent.devtools.errors import ToolError

JAVA_VERSION = 17
_INSTALL = {
    "java": "openjdk-17-jre-headless",
    "keytool": "openjdk-17-jre-headless",
    "mvn": "maven",
    "openssl": "openssl",
}


def find(name: str, purpose: str) -> str:
    """Path of a program. Raises ToolError with the name of Debian's package when it is missing."""
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{purpose} needs {name}; on Debian: apt-get install {_INSTALL.get(name, name)}")
    return path


def java() -> tuple[str, int]:
    """Path and major version of a Java that runs Cassandra: 17 where there is one, else any later one.

    Raises ToolError when there is none.
    """
    installed = sorted(str(path) for path in Path("/usr/lib/jvm").glob(f"java-{JAVA_VERSION}-*/bin/java"))
    first = shutil.which("java")
    seen = 0
    for candidate in [*installed, *([first] if first else [])]:
        version = _java_version(candidate)
        if version >= JAVA_VERSION:
            return candidate, version
        seen = max(seen, version)
    found = f"the newest one found is Java {seen}" if seen else "there is no java"
    raise ToolError(
        f"Cassandra needs Java {JAVA_VERSION} or later, {found}; on Debian: apt-get install {_INSTALL['java']}"
    )


def _java_version(path: str) -> int:
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else 0


def run(command: Sequence[str], folder: Path) -> None:
    """Run a helper program in a folder. Raises ToolError with what it said when it fails."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        said = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise ToolError(f"{Path(command[0]).name} {command[1]} failed with code {done.returncode}: {said}")
