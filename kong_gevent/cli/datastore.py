"""The datastore as commands need it: opened for this node, brought up to date before a start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kong_gevent.conf import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kong_gevent.db.migrations import Migrations

EMBEDDED = ("sqlite", "memory")
"""Stores that belong to one machine: `start` makes them itself, as nobody else could have."""


@contextmanager
def migrations(settings: Settings, lock_timeout: float = 60) -> Iterator[Migrations]:
    """The migrations of the store that the settings name; `lock_timeout` in seconds."""
    # Imported late: the store brings the whole schema vocabulary along.
    from kong_gevent.db import open_store
    from kong_gevent.db.migrations import Migrations

    store = open_store(settings, {})
    try:
        yield Migrations(store.strategy, wait=lock_timeout)
    finally:
        store.close()


def make_ready(settings: Settings, run_migrations: bool, lock_timeout: float, say: Callable[[str], None]) -> None:
    """Bring the store to the state that a start needs. Raises with Kong's message when somebody has to act first."""
    if settings.database == "memory":
        return
    with migrations(settings, lock_timeout) as found:
        if found.state().needs_bootstrap and (settings.database in EMBEDDED or run_migrations):
            say(f"bootstrapping the store ({settings.database})")
            found.bootstrap()
        if run_migrations and found.state().new:
            say("running migrations")
            found.up()
        found.check()


def describe(settings: Settings) -> str:
    """The store in words, for messages."""
    return f"sqlite at {settings.sqlite_path}" if settings.database == "sqlite" else str(settings.database)


def require_lasting(settings: Settings) -> None:
    """Refuse commands about the schema of a store that has none. Raises ClickException."""
    if settings.database == "memory":
        raise click.ClickException("database = memory keeps nothing between two starts: there is nothing to migrate")
