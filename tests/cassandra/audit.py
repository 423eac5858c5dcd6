"""Judges the tables as they are: every copy that an entity should have is there, and none beside them."""

from typing import Any

from kong_gevent.db import Store
from kong_gevent.db.strategies.cassandra.records import Stored, bucket_of, tag_bucket, unique_key, unpack
from kong_gevent.db.strategies.cassandra.strategy import CassandraStrategy


def strategy_of(store: Store) -> Any:
    """The strategy, with its insides."""
    assert isinstance(store.strategy, CassandraStrategy)
    return store.strategy


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    found: list[tuple[Any, ...]] = strategy_of(store).session.run(query, level="write")
    return found


def entities(store: Store) -> dict[tuple[str, str], Stored]:
    """All rows by kind and id."""
    found = {}
    for kind, bucket, key, data in rows(store, "SELECT kind, bucket, id, data FROM entities"):
        stored = unpack(data)
        assert (stored.key, bucket) == ((kind, key), bucket_of(key))
        found[kind, key] = stored
    return found


def check(store: Store) -> dict[tuple[str, str], Stored]:
    """Assert that all tables agree, and that everything committed is stored; returns the entities."""
    state = strategy_of(store)._mine.log.state()
    assert state.applied, "the log is ahead of the tables"
    assert state.mark.entry == state.head.entry
    held = entities(store)
    unique, links, tags = {}, {}, set()
    for (kind, key), stored in held.items():
        for field, value in stored.index.unique:
            unique[kind, field, unique_key(value)] = stored.data
        for field, parent_kind, parent_id in stored.index.parents:
            links[parent_kind, parent_id, kind, field, key] = stored.data
            assert (parent_kind, parent_id) in held, "a reference leads nowhere"
        tags |= {(tag_bucket(tag), tag, kind, key) for tag in stored.index.tags}
    assert {row[:3]: row[3] for row in rows(store, "SELECT kind, field, value, data FROM unique_keys")} == unique
    found = rows(store, "SELECT parent_kind, parent_id, kind, field, id, data FROM links")
    assert {row[:5]: row[5] for row in found} == links
    assert set(rows(store, "SELECT bucket, tag, kind, id FROM tags")) == tags
    return held
