"""Two nodes on one datastore of every lasting strategy."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.stores import LASTING, Commands, Stores
from tests.servers.postgres import Postgres

FREQUENCY = "0.2"
"""Seconds between two looks at what the other node has done."""


class Pair:
    """Two nodes on one datastore; the second one has two workers."""

    def __init__(self, commands: Commands, forget_events: Callable[[], object], stack: ExitStack) -> None:
        self.settings = shared_settings(commands)
        self.forget_events = forget_events
        """Remove all events from the store, as time does it."""
        self.stack = stack
        self.gateways: list[Gateway] = []
        """All that were made, also those that have ended."""
        self.first, self.second = self.node(), self.node(workers=2)

    def node(self, workers: int = 1, **settings: str) -> Gateway:
        """One more node; it ends with the module."""
        env = {**self.settings, "KONG_DB_UPDATE_FREQUENCY": FREQUENCY, **settings}
        self.gateways.append(self.stack.enter_context(Gateway(workers=workers, env=env)))
        return self.gateways[-1]

    @property
    def both(self) -> tuple[Gateway, Gateway]:
        """The first and the second node."""
        return self.first, self.second


def shared_settings(commands: Commands) -> dict[str, str]:
    """The settings of a store for nodes that have prefixes of their own."""
    settings = {name: value for name, value in commands.settings.items() if name != "KONG_PREFIX"}
    if settings["KONG_DATABASE"] == "sqlite":
        settings["KONG_SQLITE_PATH"] = str(commands.prefix / "kong.sqlite3")
    return settings


def _forget(database: str, settings: Mapping[str, str], server: Callable[[str], Any]) -> None:
    if database == "cassandra":
        server("cassandra").execute(f"TRUNCATE {settings['KONG_CASSANDRA_KEYSPACE']}.log")
    elif database == "postgres":
        postgres: Postgres = server("postgres")
        with postgres.connect(settings["KONG_PG_DATABASE"]) as connection:
            connection.execute("DELETE FROM events")
    else:
        import sqlite3

        with sqlite3.connect(settings["KONG_SQLITE_PATH"], timeout=30) as file:
            file.execute("DELETE FROM events")
        file.close()


@pytest.fixture(scope="module", params=LASTING)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two nodes on one datastore that nobody else uses."""
    with ExitStack() as stack:
        stores = Stores(tmp_path_factory.mktemp("stores"), request.getfixturevalue, stack)
        commands = stores(request.param)
        commands.done("migrations", "bootstrap", "-q")
        settings = shared_settings(commands)
        yield Pair(commands, lambda: _forget(request.param, settings, request.getfixturevalue), stack)
