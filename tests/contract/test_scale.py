"""A hundred thousand consumers with a credential each: written in bulk, found by key, listed page by page."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.db import Store, rows
from kong_gevent.db.strategies.base import Change, Put
from tests.cassandra.spy import statements
from tests.contract import backends
from tests.contract.backends import Backend, output

NUMBER = 100_000
AT_ONCE = 250


def load(store: Store, number: int = NUMBER) -> None:
    """Write so many consumers, each with a key, some hundred entities per commit."""
    consumers, keys = store.dao("consumers"), store.dao("keyauth_credentials")
    consumer = consumers.validate_insert({"username": "x"})
    key = keys.validate_insert({"key": "x", "consumer": {"id": consumer["id"]}})
    for start in range(0, number, AT_ONCE):
        puts: list[Put] = []
        changes: list[Change] = []
        for name in range(start, start + AT_ONCE):
            one = {**consumer, "id": str(uuid.uuid4()), "username": f"user-{name}"}
            other = {**key, "id": str(uuid.uuid4()), "key": f"key-{name}", "consumer": {"id": one["id"]}}
            for kind, values in ((consumers.entity, one), (keys.entity, other)):
                body, index = rows.encode(values), rows.index_of(kind, values)
                puts.append(Put(kind.name, values["id"], body, index))
                changes.append(Change(kind.name, values["id"], "create", tuple(rows.cache_keys(kind, values))))
        store.strategy.commit(puts, changes)


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with all of them."""
    backend: Backend = backends.make(request.param, request, tmp_path)
    store = backend.open()
    store.migrations.bootstrap()
    if request.param == "memory":
        store.connect()
        load(store)
    else:
        code = "from tests.contract import test_scale\nstore.connect()\ntest_scale.load(store)\nprint('done')"
        with backend.process(code) as writer:
            assert output(writer) == "done\n"
        store.connect()
    yield store
    store.close()


def listed(dao: Any) -> list[str]:
    """The ids on all pages, in their order."""
    found: list[str] = []
    offset = None
    while True:
        page, offset = dao.page(1000, offset)
        found += [row["id"] for row in page]
        if offset is None:
            return found
        assert len(page) == 1000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loaded", backends.ALL, indirect=True)
def test_a_hundred_thousand_consumers_with_credentials(loaded: Store) -> None:
    consumers, keys = loaded.dao("consumers"), loaded.dao("keyauth_credentials")
    assert (consumers.count(), keys.count()) == (NUMBER, NUMBER)
    for dao in (consumers, keys):
        ids = listed(dao)
        assert len(ids) == NUMBER
        assert ids == sorted(set(ids))
    for name in random.sample(range(NUMBER), 50):
        key = keys.select_by("key", f"key-{name}")
        assert key is not None
        owner = consumers.select(key["consumer"]["id"])
        assert owner is not None
        assert owner["username"] == f"user-{name}"
    if loaded.strategy.name == "cassandra":
        with statements(loaded) as sent:
            assert keys.select_by("key", "key-77777")
        assert len(sent) == 1
    assert keys.select_by("key", f"key-{NUMBER}") is None
    assert consumers.delete_by("username", "user-5")
    assert keys.select_by("key", "key-5") is None
