"""The command line of a version that has further migrations; run as a program by the tests.

    python -m tests.integration.migrating <modules> <arguments of the command line>

`<modules>` is JSON: a list of `{"name", "up": {…}, "finish": {…}}`. A half is described by `statements` (by strategy),
`file` (a line is added to it when the half runs) and `seconds` (how long it takes).
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
from gevent import monkey

from kong_gevent.cli import main
from kong_gevent.db import migrations

LOCK_SECONDS = 3.0
STRATEGIES = ("sqlite", "postgres", "cassandra")


def _half(given: dict[str, Any], strategy: str) -> str | Callable[[Any], None] | None:
    if "statements" in given:
        statements: str | None = given["statements"].get(strategy)
        return statements
    seconds = given.get("seconds", 0.0)

    def run(_: Any) -> None:
        with Path(given["file"]).open("a") as file:
            file.write("run\n")
        if strategy == "sqlite":
            monkey.get_original("time", "sleep")(seconds)  # in a thread of the pool
        else:
            gevent.sleep(seconds)

    return run


def module_of(given: dict[str, Any]) -> Any:
    """A migration module as the product has them."""
    halves = {
        part.upper(): {strategy: _half(given[part], strategy) for strategy in STRATEGIES} if part in given else {}
        for part in ("up", "finish")
    }
    return SimpleNamespace(NAME=given["name"], **halves)


def run() -> None:
    """Add the modules, then do as the command line does."""
    monkey.patch_all()
    modules = (*migrations.CORE, *map(module_of, json.loads(sys.argv[1])))
    migrations.Migrations = partial(  # type: ignore[assignment,misc]
        migrations.Migrations, modules=modules, lock_seconds=LOCK_SECONDS
    )
    began = time.monotonic()
    try:
        main(sys.argv[2:])
    finally:
        print(f"took {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    run()
