"""Empty datastores of every lasting strategy, as settings for processes, and the command line that works on them."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.gateway import ROOT

LASTING = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.needs("postgres")),
    pytest.param("cassandra", marks=pytest.mark.needs("cassandra")),
]
"""Parameters: one for each strategy that keeps its content between two processes."""
CLI = ("-m", "kong_gevent")
SECONDS = 240
"""What a command may take on a machine that is busy with other tests."""


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Commands:
    """The command line on one node: its prefix, and the settings that lead to its store."""

    def __init__(self, prefix: Path, settings: dict[str, str]) -> None:
        self.prefix = prefix
        self.settings = {"KONG_PREFIX": str(prefix), **settings}
        self._spawned: list[subprocess.Popen[str]] = []
        prefix.mkdir(exist_ok=True)

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment without other people's settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONG_")}
        return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.settings, **(settings or {})}

    def spawn(
        self, *arguments: str, program: tuple[str, ...] = CLI, settings: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A command that runs; standard output and error are separate pipes of text."""
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.prefix, env=self.environment(settings), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a background job would not have
        )  # fmt: skip
        self._spawned.append(process)
        return process

    def on_terminal(self, *arguments: str, program: tuple[str, ...] = CLI) -> str:
        """What somebody at a terminal sees of a command that must succeed."""
        line = shlex.join([sys.executable, *program, *arguments])
        shown = subprocess.run(
            ["script", "-qec", line, "/dev/null"], env=self.environment({"TERM": "xterm"}), cwd=self.prefix,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        return shown.stdout

    def close(self) -> None:
        """End what still runs."""
        for process in self._spawned:
            process.kill()
            process.communicate()

    def run(
        self, *arguments: str, program: tuple[str, ...] = CLI, settings: Mapping[str, str] | None = None
    ) -> Outcome:
        """A command that has ended."""
        process = self.spawn(*arguments, program=program, settings=settings)
        out, err = process.communicate(timeout=SECONDS)
        self._spawned.remove(process)
        return Outcome(process.returncode, out, err)

    def done(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        outcome = self.run(*arguments)
        assert outcome.code == 0, outcome
        return outcome.out


class Stores:
    """Makes empty stores: `stores("postgres")` is a `Commands` for one that nobody else uses."""

    def __init__(self, folder: Path, server: Callable[[str], Any], stack: ExitStack) -> None:
        self._folder = folder
        self._server = server
        self._stack = stack
        self._count = 0

    def __call__(self, database: str) -> Commands:
        self._count += 1
        prefix = self._folder / f"{database}-{self._count}"
        made = Commands(prefix, self._settings(database))
        self._stack.callback(made.close)
        return made

    def _settings(self, database: str) -> dict[str, str]:
        if database == "sqlite":
            return {"KONG_DATABASE": "sqlite"}
        server = self._server(database)
        name = server.fresh_name()
        if database == "postgres":
            server.create_database(name)
            self._stack.callback(server.drop_database, name)
        else:
            self._stack.callback(server.drop_keyspace, name)
        found: dict[str, str] = server.settings(name)
        return found


@pytest.fixture
def stores(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Makes empty stores; they are removed after the test."""
    with ExitStack() as stack:
        yield Stores(tmp_path, request.getfixturevalue, stack)


@pytest.fixture(params=LASTING)
def commands(request: pytest.FixtureRequest, stores: Stores) -> Commands:
    """The command line of a node with an empty store, once for each strategy."""
    return stores(request.param)
