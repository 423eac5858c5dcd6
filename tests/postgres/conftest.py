"""A store of each test's own on the session's server: a schema in one database."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from kong_gevent.db import Store
from kong_gevent.db.strategies.postgres.strategy import PostgresStrategy
from tests.postgres.support import open_on, settings_for
from tests.servers.postgres import Postgres

_numbers = itertools.count()


@pytest.fixture
def settings(postgres: Postgres, postgres_database: str) -> Iterator[dict[str, Any]]:
    """Settings of a store that does not exist yet."""
    schema = f"s{next(_numbers)}"
    yield settings_for(postgres, postgres_database, pg_schema=schema)
    with postgres.connect(postgres_database) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")  # type: ignore[arg-type]


@pytest.fixture
def store(settings: dict[str, Any]) -> Iterator[Store]:
    """An empty store."""
    made = open_on(**settings)
    made.migrations.bootstrap()
    made.connect()
    yield made
    made.close()


@pytest.fixture
def strategy(store: Store) -> PostgresStrategy:
    """The strategy of `store`."""
    assert isinstance(store.strategy, PostgresStrategy)
    return store.strategy
