"""A fresh store of each strategy: what the suite asserts must hold for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_gevent.db import Store
from tests.contract import backends
from tests.contract.backends import Backend


def opened(backend: Backend) -> Iterator[Store]:
    """A store with its tables, closed at the end."""
    made = backend.open()
    made.migrations.bootstrap()
    made.connect()
    yield made
    made.close()


@pytest.fixture(params=backends.ALL)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty store of every strategy."""
    return backends.make(request.param, request, tmp_path)


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    """An open store of every strategy."""
    yield from opened(backend)


@pytest.fixture(params=backends.SHARED)
def shared_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty store of every strategy whose stores several processes can open."""
    return backends.make(request.param, request, tmp_path)


@pytest.fixture
def shared_store(shared_backend: Backend) -> Iterator[Store]:
    """An open store of every strategy whose stores several processes can open."""
    yield from opened(shared_backend)


@pytest.fixture
def sqlite_backend(tmp_path: Path) -> Backend:
    """An empty SQLite store."""
    return backends.file_backend("sqlite", tmp_path)


@pytest.fixture
def sqlite_store(sqlite_backend: Backend) -> Iterator[Store]:
    """An open SQLite store."""
    yield from opened(sqlite_backend)
