"""Documents into stores and out of them, in one process: what is written, what stays, what is refused."""

import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store, open_store
from kong_gevent.db.strategies.base import Change, Exists, Operation, Stale
from kong_gevent.db.transfer import COMMIT_ROWS
from kong_gevent.declarative import (
    Document,
    InvalidDocument,
    JsonWriter,
    YamlWriter,
    check_conflicts,
    export,
    import_into,
    read_json,
    read_yaml,
)
from kong_gevent.pdk.loader import load_plugins

HEAD = '_format_version: "3.0"\n'
STRATEGIES = ("memory", "sqlite")


def new_store(strategy: str, folder: Path) -> Store:
    folder.mkdir()
    settings = SimpleNamespace(database=strategy, sqlite_path="kong.sqlite3", prefix=str(folder))
    store = open_store(settings, load_plugins(["bundled"]))
    store.migrations.bootstrap()
    store.connect()
    return store


@pytest.fixture(params=STRATEGIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = new_store(request.param, tmp_path / "store")
    yield made
    made.close()


def take(store: Store, text: str) -> int:
    with Document.load(read_yaml(HEAD + text), store.catalogue) as document:
        check_conflicts(store, document)
        return import_into(store, document, lambda count: None)


def text_of(store: Store) -> str:
    stream = io.StringIO()
    export(store, YamlWriter(stream), lambda count: None)
    return stream.getvalue()


def consumers(count: int) -> str:
    return "consumers:\n" + "".join(
        f"- {{username: u{number}, keyauth_credentials: [{{key: k{number}}}]}}\n" for number in range(count)
    )


@pytest.mark.parametrize("first", STRATEGIES)
@pytest.mark.parametrize("second", STRATEGIES)
def test_between_stores_the_text_stays_the_same(first: str, second: str, tmp_path: Path) -> None:
    one, two = new_store(first, tmp_path / "one"), new_store(second, tmp_path / "two")
    one.dao("services").insert({"name": "a", "url": "https://a.test", "tags": ["on", "ü"], "retries": None})
    route = one.dao("routes").insert({"paths": ["/x", "~/\\d"], "headers": {"x": ["~*a"]}, "service": {"name": "a"}})
    one.dao("plugins").insert({"name": "cors", "route": {"id": route["id"]}, "config": {"max_age": 5}})
    consumer = one.dao("consumers").insert({"username": "u"})
    one.dao("keyauth_credentials").insert({"consumer": {"id": consumer["id"]}, "key": "k"}, ttl=1000)
    text = text_of(one)
    with Document.load(read_yaml(text), two.catalogue) as document:
        assert import_into(two, document, lambda count: None) == 5
    assert text_of(two) == text
    credential = two.dao("keyauth_credentials").select_by("key", "k")
    assert credential is not None
    assert 990 < credential["ttl"] <= 1000
    for made in (one, two):
        made.close()


def test_json_is_the_same_document(store: Store) -> None:
    take(store, consumers(3) + "services: [{name: s, host: h}]")
    stream = io.StringIO()
    export(store, JsonWriter(stream), lambda count: None)
    with Document.load(read_json(stream.getvalue()), store.catalogue) as document:
        assert import_into(store, document, lambda count: None) == 0
    assert list(json.loads(stream.getvalue())) == [
        "_format_version", "_transform", "services", "consumers", "keyauth_credentials",
    ]  # fmt: skip


def test_what_has_expired_is_not_exported(store: Store) -> None:
    take(store, "consumers: [{username: u, keyauth_credentials: [{key: k, ttl: 0.05}]}]")
    time.sleep(0.1)
    assert "keyauth_credentials" not in text_of(store)


def test_events_name_old_and_new_keys(store: Store) -> None:
    store.origin = "node"
    cursor = store.last_event_id()
    take(store, "consumers: [{id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11, username: a}]")
    take(store, "consumers: [{id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11, username: b}]")
    created, updated = store.events_after(cursor)
    assert (created.op, updated.op, updated.origin) == ("create", "update", "node")
    assert set(updated.cache_keys) == {
        "consumers:id:3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11", "consumers:username:a", "consumers:username:b",
    }  # fmt: skip


def test_what_stays_the_same_makes_no_event(store: Store) -> None:
    take(store, consumers(5))
    cursor = store.last_event_id()
    assert take(store, consumers(5)) == 0
    assert store.events_after(cursor) == []
    assert take(store, consumers(6)) == 2


def test_times_that_the_document_has_are_kept(store: Store) -> None:
    take(store, "services: [{name: s, host: h, created_at: 5, updated_at: 6}]")
    service = store.dao("services").select_by("name", "s")
    assert service is not None
    assert (service["created_at"], service["updated_at"]) == (5, 6)
    take(store, "services: [{name: s, host: i}]")
    service = store.dao("services").select_by("name", "s")
    assert service is not None
    assert service["created_at"] == 5
    assert service["updated_at"] > 6


def test_entities_that_the_document_lacks_stay(store: Store) -> None:
    take(store, consumers(2))
    take(store, "consumers: [{username: other}]")
    assert store.dao("consumers").count() == 3


class Watched:
    """A strategy whose commits are counted, and may be disturbed."""

    def __init__(self, store: Store, disturb: Any = None) -> None:
        self._strategy = store.strategy
        self._disturb = disturb
        self.sizes: list[int] = []
        store._strategy = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        self.sizes.append(len(operations))
        if self._disturb is not None:
            self._disturb(len(self.sizes))
        self._strategy.commit(operations, changes, origin)


def test_many_entities_go_into_one_commit(store: Store) -> None:
    watched = Watched(store)
    take(store, consumers(2 * COMMIT_ROWS + 1))
    assert watched.sizes == [COMMIT_ROWS, COMMIT_ROWS, 1] * 2


def test_large_entities_go_into_small_commits(store: Store) -> None:
    watched = Watched(store)
    body = "x" * 100_000
    plugins = ", ".join(
        f"{{name: request-termination, config: {{body: {body}}}, id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c{n:02}, "
        f"service: s{n}}}" for n in range(10, 15)
    )  # fmt: skip
    services = ", ".join(f"{{name: s{n}, host: h}}" for n in range(10, 15))
    take(store, f"services: [{services}]\nplugins: [{plugins}]")
    assert watched.sizes == [5, 2, 2, 1]


def test_another_writer_in_between_is_noticed(store: Store) -> None:
    other = Store(store.strategy, store.catalogue)

    def disturb(number: int) -> None:
        if number == 1:
            other.dao("consumers").insert({"id": "3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11", "username": "fast"})
        if number == 3:
            other.dao("consumers").update("3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11", {"username": "faster"})

    watched = Watched(store, disturb)
    text = "consumers: [{id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11, username: NAME}, {username: v}]"
    assert take(store, text.replace("NAME", "u")) == 2
    assert take(store, text.replace("NAME", "w")) == 1
    assert len(watched.sizes) == 4
    assert store.dao("consumers").select_by("username", "w") is not None
    assert store.dao("consumers").count() == 2


@pytest.mark.parametrize("refusal", [Exists, Stale])
def test_a_writer_who_never_stops_is_an_error(store: Store, refusal: Any) -> None:
    def disturb(number: int) -> None:
        raise refusal("consumers", "x")

    Watched(store, disturb)
    with pytest.raises(errors.DatabaseError, match="changed too often"):
        take(store, consumers(1))


def test_values_that_others_hold_are_found_first(store: Store) -> None:
    store.dao("consumers").insert({"username": "u1"})
    before = text_of(store)
    with pytest.raises(InvalidDocument) as caught:
        take(store, "services: [{name: s, host: h}]\n" + consumers(3))
    first, second = caught.value.lines()
    assert first == "in 'consumers':"
    assert second.startswith(
        "  uniqueness violation: the datastore has an entity with username set to 'u1' under the id"
    )
    assert text_of(store) == before


def test_a_store_that_goes_away_says_how_to_go_on(store: Store) -> None:
    def disturb(number: int) -> None:
        if number == 2:
            raise errors.StoreUnavailable("gone")

    Watched(store, disturb)
    with pytest.raises(
        errors.StoreUnavailable, match=r"interrupted at 'keyauth_credentials' .*: gone; import the file"
    ):
        take(store, consumers(3))
