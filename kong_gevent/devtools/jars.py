"""Cassandra's jars: fetched once by Maven into a cache folder that every node on this machine shares."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kong_gevent.devtools import programs
from kong_gevent.devtools.errors import ToolError

VERSION = "5.0.9"
Say = Callable[[str], None]
"""Takes one line of progress."""

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>cassandra-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""
_FOREIGN = ("osx-", "windows-", "aarch_64", "riscv64")
"""Native libraries of other platforms: no need to keep them on x86-64 Linux."""
_QUIET_SECONDS = 2.0
_PAUSE_SECONDS = 0.2


def default_folder() -> Path:
    """Where the jars of all checkouts of this user are kept."""
    return Path.home() / ".cache" / "kong-gevent" / f"cassandra-{VERSION}"


def complete(folder: Path) -> bool:
    """Whether a folder holds all jars of this version."""
    return (folder / f"cassandra-all-{VERSION}.jar").is_file()


def fetch(folder: Path | None = None, say: Say = lambda line: None) -> Path:
    """Make sure that the jars are there and return their folder; the first call needs Maven and a network.

    Raises ToolError when Maven is missing or fails. Two calls at once: the second waits for the first.
    """
    folder = folder or default_folder()
    if complete(folder):
        return folder
    maven = programs.find("mvn", f"fetching Cassandra {VERSION}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(f".{folder.name}.lock"), say):
        if complete(folder):
            return folder
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        (part / "lib").mkdir(parents=True)
        (part / "pom.xml").write_text(_POM.format(version=VERSION))
        _run_maven(maven, part, say)
        _keep_ours(part / "lib")
        shutil.rmtree(folder, ignore_errors=True)
        (part / "lib").rename(folder)
        shutil.rmtree(part)
    say(f"Cassandra {VERSION} is in {folder}")
    return folder


def class_path(folder: Path) -> str:
    """Every jar in a fixed order: an archive of classes is bound to that order."""
    return ":".join(str(jar) for jar in sorted(folder.glob("*.jar")))


def agent(folder: Path) -> Path:
    """The jar that measures objects, which the daemon wants as an agent."""
    return next(folder.glob("jamm-*.jar"))


@contextlib.contextmanager
def _lock(path: Path, say: Say) -> Iterator[None]:
    with path.open("ab") as lock:
        began = time.monotonic()
        while not _locked(lock.fileno()):
            say(f"Waiting for another process that fetches Cassandra: {time.monotonic() - began:.0f} s")
            time.sleep(_PAUSE_SECONDS)
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run_maven(maven: str, folder: Path, say: Say) -> None:
    command = [
        *[maven, "-B", "-Dstyle.color=never", "dependency:copy-dependencies"],
        *["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"],
    ]
    say(f"Fetching Cassandra {VERSION} with Maven (about 60 MB, once)")
    said: list[str] = []
    fetched = copied = 0
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        for line in _lines(process):
            said = [*said[-30:], line] if line else said
            fetched += "Downloaded from" in line
            copied += "] Copying " in line
            say(f"Fetching Cassandra {VERSION}: {fetched} files fetched, {copied} jars in place")
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
    if code or not complete(folder / "lib"):
        errors = [line for line in said if line.startswith("[ERROR]")] or said[-3:]
        text = re.sub(r"\s+", " ", errors[0].removeprefix("[ERROR]")).strip() if errors else f"code {code}"
        raise ToolError(
            f"Maven could not fetch Cassandra {VERSION}: {text[:400]} (Maven's own settings apply: ~/.m2/settings.xml)"
        )


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines of output as they come; an empty one when nothing came for two seconds."""
    assert process.stdout is not None
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(_QUIET_SECONDS):
                yield ""
                continue
            data = os.read(process.stdout.fileno(), 65536)
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines if data else [*lines, buffer]:
                if line:
                    yield line.decode("utf-8", "replace")
            if not data:
                return


def _keep_ours(folder: Path) -> None:
    if os.uname().machine != "x86_64":
        return
    for jar in folder.glob("*.jar"):
        if any(mark in jar.name for mark in _FOREIGN):
            jar.unlink()
