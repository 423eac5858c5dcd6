"""The datastore as commands need it: reached within a time, brought up to date before a start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kong_gevent.cli.progress import migration_progress
from kong_gevent.cli.waiting import reach
from kong_gevent.conf import Settings
from kong_gevent.errors import StoreMisconfigured, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kong_gevent.db import Store
    from kong_gevent.db.migrations import Migrations

EMBEDDED = ("sqlite", "memory", "off")
"""Stores that belong to one machine: `start` makes them itself, as nobody else could have."""
DB_TIMEOUT = 60.0
"""Seconds for which commands wait for a shared store that is away."""


@dataclass(frozen=True)
class Patience:
    """How long a command waits, seconds: for a store that is away (None: the default), and for the schema's lock."""

    store: float | None = None
    lock: float = 60.0

    def seconds(self, settings: Settings) -> float:
        """For how long to try again; a file of this machine is there or it is not."""
        if settings.database in EMBEDDED:
            return 0.0
        return DB_TIMEOUT if self.store is None else self.store


@contextmanager
def opened(settings: Settings, plugins: bool = False) -> Iterator[Store]:
    """The store that the settings name, without a look at its schema. `plugins`: with their entities and settings."""
    # Imported late: the store brings the whole schema vocabulary along.
    from kong_gevent.db import open_store
    from kong_gevent.pdk.loader import load_plugins

    store = open_store(settings, load_plugins(settings.plugins) if plugins else {})
    try:
        yield store
    finally:
        store.close()


@contextmanager
def migrations(settings: Settings, patience: Patience, say: Callable[[str], None] | None) -> Iterator[Migrations]:
    """The migrations of the store that the settings name, once it answers. `say` prints progress; None: quietly.

    Raises `StoreMisconfigured` at once, `StoreUnavailable` when the store has not answered in time.
    """
    from kong_gevent.db.migrations import Migrations

    progress = migration_progress(say)
    with opened(settings) as store:
        found = Migrations(store.strategy, wait=patience.lock, progress=progress)
        try:
            reach(found.state, describe(settings), patience.seconds(settings))
            yield found
        finally:
            progress.close()


def make_ready(
    settings: Settings, run_migrations: bool, patience: Patience, say: Callable[[str], None], fallback: bool = False
) -> bool:
    """Bring the store to the state that a start needs; False when it is away and the node starts without it.

    `fallback`: there is a last good configuration to start with. Raises with Kong's message when somebody has to act
    first.
    """
    if settings.database == "memory":
        return True
    if fallback:
        patience = Patience(0.0, patience.lock)
    try:
        # A store of this machine is made without a word; a change of a shared one is worth lines.
        show = None if settings.database in EMBEDDED and not run_migrations else _show
        with migrations(settings, patience, show) as found:
            state = found.state()
            if state.needs_bootstrap and (settings.database in EMBEDDED or run_migrations):
                found.refuse_newer(state)
                say(f"bootstrapping the store ({describe(settings)})")
                found.bootstrap()
                state = found.state()
            if (run_migrations or settings.database == "off") and state.new:
                say("running migrations")
                found.up()
            found.check()
    except StoreMisconfigured:
        raise
    except StoreUnavailable as error:
        if not fallback:
            raise
        click.echo(
            f"Warning: {describe(settings)} does not answer; starting with the last good configuration of this node. "
            f"Nothing can be changed until it is back ({error})",
            err=True,
        )
        return False
    return True


def describe(settings: Settings) -> str:
    """The store in words, for messages."""
    if settings.database == "sqlite":
        return f"sqlite at {settings.sqlite_path}"
    if settings.database == "cassandra":
        points = ", ".join(settings.cassandra_contact_points)
        return f"cassandra at {points} port {settings.cassandra_port} (keyspace {settings.cassandra_keyspace})"
    if settings.database == "postgres":
        return f"postgres at {settings.pg_host} port {settings.pg_port} (database {settings.pg_database})"
    if settings.database == "off":
        return "the store of the last declarative document"
    return str(settings.database)


def require_lasting(settings: Settings, lacks: str) -> None:
    """Refuse commands about the content of a store that has none of its own; `lacks`: what follows from that."""
    if settings.database in ("memory", "off"):
        raise click.ClickException(f"database = {settings.database} keeps {lacks}")


def _show(text: str) -> None:
    click.echo(text, err=True)
