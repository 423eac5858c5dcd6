"""Stores in Cassandra, as several processes or nodes see them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from kong_gevent.db import Store
from tests.contract.backends import Backend, empty_cassandra


@pytest.fixture
def backend(request: pytest.FixtureRequest, cassandra_keyspace: str) -> Backend:
    """An empty store in the module's keyspace, with its tables."""
    made = empty_cassandra(request)
    store = made.open()
    store.migrations.bootstrap()
    store.close()
    return made


@pytest.fixture
def open_node(backend: Backend) -> Iterator[Callable[[], Store]]:
    """Opens the store as another node would: with connections and memory of its own."""
    with ExitStack() as stack:

        def opened() -> Store:
            store = backend.open()
            stack.callback(store.close)
            store.connect()
            return store

        yield opened


@pytest.fixture
def store(open_node: Callable[[], Store]) -> Store:
    """The store as the first node sees it."""
    return open_node()
