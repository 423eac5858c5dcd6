"""Events from the commit log, in the face of histories that fork and entries that are gone; and the rows of tables."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.base import Index, Put, Row
from kong_gevent.db.strategies.cassandra.records import pack, unpack, unpack_row
from tests.cassandra import audit
from tests.cassandra.spy import statements
from tests.contract.backends import Backend

Node = Callable[[], Store]


# events


def test_a_look_for_events_of_an_idle_store_is_one_read(store: Store) -> None:
    store.dao("consumers").insert({"username": "a"})
    cursor = store.last_event_id()
    store.strategy.commit([], [])  # without an event, as the audit log does
    assert store.events_after(cursor) == []
    with statements(store) as sent:
        assert store.events_after(cursor) == []
    assert len(sent) == 1


def test_a_head_that_was_replaced_is_noticed(open_node: Node) -> None:
    """Two data centres that cannot see each other may both write; afterwards one of the histories is not the one."""
    one, two = open_node(), open_node()
    one.dao("consumers").insert({"username": "a"})
    cursor = one.last_event_id()
    assert one.events_after(cursor) == []
    state = audit.strategy_of(two)._mine.log.state()
    audit.strategy_of(two).session.run(
        "UPDATE log_state SET entry = ? WHERE log = 'main' AND item = 'head' IF seq = ?",
        (uuid.uuid4(), state.head.seq), level="lwt",
    )  # fmt: skip
    with pytest.raises(errors.EventsLost, match="forked"):
        one.events_after(cursor)


def test_an_entry_that_follows_another_one_than_was_read_is_noticed(open_node: Node) -> None:
    one, two = open_node(), open_node()
    first = two.dao("consumers").insert({"username": "a"})
    cursor = one.last_event_id()
    strategy = audit.strategy_of(two)
    head = strategy._mine.log.state().head
    forged = uuid.uuid4()
    for cql in (
        "UPDATE log_state SET entry = ? WHERE log = 'main' AND item = 'head' IF seq = ?",
        "UPDATE log_state USING TIMESTAMP {} SET entry = ? WHERE log = 'main' AND item = 'mark:dc1'",
    ):
        values = (forged, head.seq) if "IF" in cql else (forged,)
        strategy.session.run(cql.format(head.seq + 1), values, level="lwt" if "IF" in cql else "write")
    strategy._mine.committer._head = None
    two.dao("consumers").update(first["id"], {"username": "b"})
    with pytest.raises(errors.EventsLost):
        one.events_after(cursor)
    cursor = one.last_event_id()
    two.dao("consumers").update(first["id"], {"username": "c"})
    assert [event.op for event in one.events_after(cursor)] == ["update"]


def test_entries_that_are_gone_are_noticed(store: Store) -> None:
    cursors = [0]
    for number in range(3):
        store.dao("consumers").insert({"username": str(number)})
        cursors.append(store.last_event_id())
    bucket, seq, entry = next(
        row for row in audit.rows(store, "SELECT bucket, seq, entry FROM log") if row[1] == cursors[2]
    )
    audit.rows(store, f"DELETE FROM log WHERE bucket = {bucket} AND seq = {seq} AND entry = {entry}")
    for cursor in cursors[:2]:
        with pytest.raises(errors.EventsLost):
            store.events_after(cursor)
    assert len(store.events_after(cursors[2])) == 1
    audit.rows(store, f"DELETE FROM log WHERE bucket = {bucket}")
    with pytest.raises(errors.EventsLost):
        store.events_after(cursors[2])
    assert store.events_after(cursors[3]) == []
    assert store.strategy.event_range()[0] == cursors[3] + 1


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "half stored"])
def test_an_entry_of_which_only_its_victory_is_left_is_gone(open_node: Node, stored: bool) -> None:
    """A statement that was sent twice, as a server was slow, may run once more when the entry is gone already."""
    one, two = open_node(), open_node()
    cursor = one.last_event_id()
    log = audit.strategy_of(two)._mine.log
    if not stored:
        log.raise_mark = lambda point: None
    two.dao("consumers").insert({"username": "a"})
    ((bucket, seq, entry),) = audit.rows(two, "SELECT bucket, seq, entry FROM log")
    audit.rows(two, "TRUNCATE log")
    where = f"bucket = {bucket} AND seq = {seq} AND entry = {entry}"
    audit.rows(two, f"UPDATE log SET won = true WHERE {where} AND part = 0")
    if stored:
        with pytest.raises(errors.EventsLost):
            one.events_after(cursor)
        assert one.last_event_id() == seq
        one.dao("consumers").insert({"username": "b"})
        assert len(one.events_after(seq)) == 1
    else:
        with pytest.raises(errors.StoreUnavailable, match="cannot be read yet"):
            one.dao("consumers").insert({"username": "b"})


def test_proposals_that_lost_are_no_events(open_node: Node) -> None:
    one, two = open_node(), open_node()
    one.dao("consumers").insert({"username": "a"})
    log = audit.strategy_of(two)._mine.log
    real = log.propose

    def late(entry: Any) -> None:
        log.propose = real
        real(entry)
        one.dao("consumers").insert({"username": "b"})

    log.propose = late
    two.dao("consumers").insert({"username": "c"})
    entries = audit.rows(one, "SELECT seq, won FROM log")
    assert len(entries) == 4
    names = [event.cache_keys[1].rpartition(":")[2] for event in one.events_after(0)]
    assert names == ["a", "b", "c"]


def test_what_is_half_done_is_waited_for_when_its_rows_may_have_been_read(open_node: Node) -> None:
    one, two = open_node(), open_node()
    cursor = two.last_event_id()
    log = audit.strategy_of(one)._mine.log
    real, seen = log.raise_mark, []

    def late(point: Any) -> None:
        log.raise_mark = real
        assert two.dao("consumers").select_by("username", "a") is not None
        seen.extend([two.events_after(cursor), two.events_after(cursor, 10, True)])
        real(point)

    log.raise_mark = late
    one.dao("consumers").insert({"username": "a"})
    assert [[event.op for event in events] for events in seen] == [[], ["create"]]


def test_a_reset_store_is_another_store(open_node: Node) -> None:
    one, two = open_node(), open_node()
    one.dao("consumers").insert({"username": "a"})
    cursor = one.last_event_id()
    two.migrations.bootstrap(force=True)
    two.dao("consumers").insert({"username": "a"})
    with pytest.raises(errors.EventsLost):
        one.events_after(cursor)
    with pytest.raises(errors.UniqueViolation):
        one.dao("consumers").insert({"username": "a"})
    assert len(audit.check(one)) == 1


def test_each_data_centre_waits_for_the_rows_to_be_there(open_node: Node, backend: Backend) -> None:
    """Rows come to other data centres in any order: events are told there when somebody there has stored the rows."""
    near = open_node()
    far = backend.open()
    audit.strategy_of(far)._place = "another"
    far.connect()
    cursor = far.last_event_id()
    assert cursor == 0
    near.dao("consumers").insert({"username": "a"})
    assert far.events_after(cursor) == []
    deadline = time.monotonic() + 30
    while not (events := far.events_after(cursor)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [event.op for event in events] == ["create"]
    marks = {item for (item,) in audit.rows(near, "SELECT item FROM log_state")}
    assert marks == {"head", "mark:dc1", "mark:another"}
    far.dao("consumers").insert({"username": "b"})
    assert near.dao("consumers").insert({"username": "c"})
    assert len(near.events_after(0)) == 3
    far.close()


# rows


def test_a_look_up_is_one_read(store: Store) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    key = store.dao("keyauth_credentials").insert({"key": "k", "consumer": {"id": consumer["id"]}})
    dao = store.dao("keyauth_credentials")
    with statements(store) as sent:
        assert dao.select_by("key", "k") == key
        assert dao.select(key["id"]) == key
        assert dao.page(parent=("consumer", consumer["id"])) == ([key], None)
    assert len(sent) == 3


def test_every_copy_of_an_expiring_row_ends_by_itself(store: Store) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    values = {"key": "k", "consumer": {"id": consumer["id"]}, "tags": ["t"]}
    made = store.dao("keyauth_credentials").insert({**values, "ttl": 100})
    queries = [
        f"SELECT TTL(data) FROM entities WHERE id = '{made['id']}' ALLOW FILTERING",
        "SELECT TTL(data) FROM unique_keys WHERE kind = 'keyauth_credentials' AND field = 'key' AND value = 'k'",
        "SELECT TTL(data) FROM links",
        "SELECT TTL(expires) FROM tags",
    ]
    lives = [life for query in queries for (life,) in audit.rows(store, query)]
    assert len(lives) == 4
    assert all(90 < life <= 111 for life in lives)
    store.dao("keyauth_credentials").upsert(made["id"], values)
    assert [life for query in queries for (life,) in audit.rows(store, query)] == [None] * 4


def test_the_server_removes_what_has_expired(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    monkeypatch.setattr("kong_gevent.db.strategies.cassandra.entry.TTL_MARGIN", 1)
    store.dao("keyauth_credentials").insert({"consumer": {"id": consumer["id"]}, "ttl": 1, "tags": ["t"]})
    deadline = time.monotonic() + 30
    while len(audit.entities(store)) > 1 or audit.rows(store, "SELECT tag FROM tags"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    audit.check(store)


def test_long_and_odd_unique_values_are_kept_apart(store: Store) -> None:
    names = ["x" * 70000, "x" * 70001, "ü" * 5000, "\0sha256:0", "", "a b", "\U0001f600"]
    puts = [Put("consumers", str(uuid.uuid4()), b"{}", Index((("username", name),))) for name in names]
    store.strategy.commit(puts, [])
    for put, name in zip(puts, names, strict=True):
        found = store.strategy.find("consumers", "username", name)
        assert found is not None
        assert found.id == put.id
    audit.check(store)


def test_a_row_survives_its_stored_form() -> None:
    row = Row("k", "i", b'{"a":"\\n"}\n', 7, 5.5)
    stored = pack(row, Index((("f", "line\nbreak"),), (("p", "q", "r"),), ("t", "ü")))
    assert unpack(stored.data) == stored
    assert unpack_row(stored.data) == stored.row == row
