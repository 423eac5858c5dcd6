"""Pages, tags, expiry and events."""

import base64
import json
import time
from collections.abc import Callable
from itertools import combinations
from operator import itemgetter
from random import Random
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies import base
from tests.contract import backends

PRUNING = [strategy for strategy in backends.ALL if getattr(strategy, "values", None) != ("cassandra",)]
"""Strategies that remove what has expired; Cassandra's server does it by itself."""


def insert_many(store: Store, number: int, **values: Any) -> list[str]:
    made = [store.dao("services").insert({"host": "h", **values})["id"] for _ in range(number)]
    return sorted(made)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_pages_are_in_order_of_the_ids_and_end(store: Store) -> None:
    made = insert_many(store, 7)
    seen, offset, pages = [], None, 0
    while True:
        rows, offset = store.dao("services").page(3, offset)
        seen += ids(rows)
        pages += 1
        if offset is None:
            break
    assert (seen, pages) == (made, 3)


def test_a_full_last_page_has_no_offset(store: Store) -> None:
    insert_many(store, 2)
    assert store.dao("services").page(2)[1] is None


def test_the_offset_is_the_last_id_in_base64_json(store: Store) -> None:
    made = insert_many(store, 2)
    offset = store.dao("services").page(1)[1]
    assert offset is not None
    assert "=" not in offset
    assert json.loads(base64.b64decode(offset + "==")) == [made[0]]


def test_rows_that_come_and_go_between_pages_do_not_shift_the_others(store: Store) -> None:
    made = insert_many(store, 6)
    first, offset = store.dao("services").page(3)
    store.dao("services").delete(made[2])
    store.dao("services").delete(made[0])
    store.dao("services").delete(made[4])
    store.dao("services").insert({"id": "00000000-0000-4000-8000-000000000000", "host": "h"})
    second, end = store.dao("services").page(3, offset)
    assert ids(first) == made[:3]
    assert ids(second) == [made[3], made[5]]
    assert end is None


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        ("x!", "bad base64 encoding"),
        ("é", "bad base64 encoding"),
        ("abc", "bad json encoding"),
        (base64.b64encode(b'["x"]').decode(), "bad json encoding"),
        (base64.b64encode(b"{}").decode(), "bad json encoding"),
    ],
)
def test_a_foreign_offset_is_refused(store: Store, offset: str, reason: str) -> None:
    with pytest.raises(errors.InvalidOffset) as caught:
        store.dao("services").page(1, offset)
    assert caught.value.message == f"'{offset}' is not a valid offset: {reason}"


@pytest.mark.parametrize("size", [0, 1001, 1.5, "0", "1.5", -1])
def test_sizes_out_of_range_are_refused(store: Store, size: Any) -> None:
    with pytest.raises(errors.InvalidSize) as caught:
        store.dao("services").page(size)
    assert caught.value.message == "size must be an integer between 1 and 1000"


@pytest.mark.parametrize("size", ["x", "", "1_0", True, []])
def test_sizes_that_are_no_numbers_are_refused(store: Store, size: Any) -> None:
    with pytest.raises(errors.InvalidSize) as caught:
        store.dao("services").page(size)
    assert caught.value.message == "size must be a number"


def test_each_reads_everything(store: Store) -> None:
    made = insert_many(store, 11)
    assert ids(list(store.dao("services").each(size=4))) == made
    assert store.dao("services").count() == 11


def test_tags_filter_by_all_or_any_with_pages(store: Store) -> None:
    both = insert_many(store, 3, tags=["a", "b"])
    only = insert_many(store, 3, tags=["a"])
    insert_many(store, 2, tags=["c"])
    services = store.dao("services")
    assert ids(services.page(tags="a,b")[0]) == both
    assert ids(services.page(tags="b/a")[0]) == sorted(both + only)
    rows, offset = services.page(2, tags=["a", "b"], tags_mode="and")
    assert ids(rows + services.page(2, offset, tags=["a", "b"])[0]) == both
    assert services.page(tags="none") == ([], None)


def all_pages(page: Callable[..., tuple[list[Any], str | None]], *args: Any, **options: Any) -> list[Any]:
    found, offset = page(*args, **options)
    while offset is not None:
        more, offset = page(*args, offset=offset, **options)
        assert more
        found += more
    return found


def test_tag_filters_and_lists_agree_with_the_entities(store: Store) -> None:
    names = ["a", "ab", "b", "z", "é", "中", "\U0001f600"]
    random = Random(5)
    made = [
        store.dao("services").insert({"host": "h", "tags": random.sample(names, random.randint(1, 4))})
        for _ in range(60)
    ]
    made.sort(key=itemgetter("id"))
    services = store.dao("services")
    for number in (1, 2, 3):
        for wanted in combinations(names[:5], number):
            every = [row for row in made if set(wanted) <= set(row["tags"])]
            some = [row for row in made if set(wanted) & set(row["tags"])]
            assert all_pages(services.page, 7, tags=list(wanted)) == every
            assert all_pages(services.page, 7, tags=list(wanted), tags_mode="or") == some
    triples = sorted((tag, row["id"]) for row in made for tag in row["tags"])
    listed = all_pages(store.tags.page, 11)
    assert [(row["tag"], row["entity_id"]) for row in listed] == triples
    for name in names:
        listed = all_pages(store.tags.page, 4, tag=name)
        assert [(row["tag"], row["entity_id"]) for row in listed] == [entry for entry in triples if entry[0] == name]


def test_changed_tags_are_filtered_by_at_once(store: Store) -> None:
    (made,) = insert_many(store, 1, tags=["a", "b"])
    store.dao("services").update(made, {"tags": ["b", "c"]})
    assert store.dao("services").page(tags="a") == ([], None)
    assert ids(store.dao("services").page(tags="c,b")[0]) == [made]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be null"),
        ("a,b/c", "invalid filter syntax"),
        ("a,,b", "invalid filter syntax"),
        ("a\x01", "invalid filter syntax"),
        ("a,b,c,d,e,f", "cannot query more than 5 tags"),
    ],
)
def test_malformed_tag_filters_are_refused(store: Store, text: str, reason: str) -> None:
    with pytest.raises(errors.InvalidOptions) as caught:
        store.dao("services").page(tags=text)
    assert caught.value.to_dict() == {
        "code": 11,
        "name": "invalid options",
        "message": f"invalid option (tags: {reason})",
        "options": {"tags": reason},
    }


def test_tags_are_a_list_of_their_own(store: Store) -> None:
    service = insert_many(store, 1, tags=["b", "a"])[0]
    consumer = store.dao("consumers").insert({"username": "u", "tags": ["a"]})["id"]
    first, offset = store.tags.page(2)
    second, end = store.tags.page(2, offset)
    assert first + second == [
        {"tag": "a", "entity_name": "consumers", "entity_id": consumer},
        {"tag": "a", "entity_name": "services", "entity_id": service},
        {"tag": "b", "entity_name": "services", "entity_id": service},
    ]
    assert end is None
    assert store.tags.page(tag="b") == (second, None)
    assert store.tags.page(tag="none") == ([], None)
    store.dao("services").delete(service)
    assert store.tags.page()[0] == first[:1]


@pytest.mark.parametrize("values", [["a\0", "b", "c"], ["a", "b", "\0"], ["a", "b"], ["a", "b", 3]], ids=repr)
def test_an_impossible_offset_of_tags_is_refused(store: Store, values: Any) -> None:
    with pytest.raises(errors.InvalidOffset):
        store.tags.page(offset=base64.b64encode(json.dumps(values).encode()).decode())


def test_an_impossible_tag_is_refused(store: Store) -> None:
    with pytest.raises(errors.InvalidUnique) as caught:
        store.tags.page(tag="a,b")
    assert caught.value.to_dict()["name"] == "invalid unique tag"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.shift = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.shift)
        if store.strategy.name == "memory":
            monkeypatch.setattr(store.strategy, "_clock", time.time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, store: Store) -> Clock:
    return Clock(monkeypatch, store)


@pytest.fixture
def keys(store: Store) -> Any:
    consumer = store.dao("consumers").insert({"username": "a"})
    dao = store.dao("keyauth_credentials")
    return lambda **values: dao.insert({"consumer": {"id": consumer["id"]}, **values})


def test_an_expired_entity_is_invisible_at_once(store: Store, clock: Clock, keys: Any) -> None:
    dao = store.dao("keyauth_credentials")
    made = keys(key="k", ttl=10, tags=["t"])
    lasting = keys(key="l")
    assert (made["ttl"], lasting["ttl"]) == (10, None)
    clock.shift = 11
    assert dao.select(made["id"]) is None
    assert dao.select_by("key", "k") is None
    assert ids(dao.page()[0]) == [lasting["id"]]
    assert ids(dao.page(parent=("consumer", made["consumer"]["id"]))[0]) == [lasting["id"]]
    assert dao.page(tags="t") == ([], None)
    assert store.tags.page() == ([], None)
    assert dao.count() == 1
    assert dao.delete(made["id"]) is False


def test_expired_entities_do_not_shorten_pages(store: Store, clock: Clock, keys: Any) -> None:
    for number in range(12):
        values = {"ttl": 10} if number % 4 else {}
        made = keys(id=f"00000000-0000-4000-8000-0000000000{number:02}", tags=["t"], **values)
    clock.shift = 11
    dao = store.dao("keyauth_credentials")
    for options in ({}, {"tags": "t"}, {"parent": ("consumer", made["consumer"]["id"])}):
        assert [key[-2:] for key in ids(all_pages(dao.page, 2, **options))] == ["00", "04", "08"]
    assert [row["entity_id"][-2:] for row in all_pages(store.tags.page, 2)] == ["00", "04", "08"]


def test_an_expired_entity_gives_its_key_and_id_free(store: Store, clock: Clock, keys: Any) -> None:
    made = keys(key="k", ttl=10)
    clock.shift = 11
    assert keys(key="k")["key"] == "k"
    assert keys(id=made["id"], key="other")["id"] == made["id"]


def test_the_remaining_seconds_are_shown(store: Store, clock: Clock, keys: Any) -> None:
    made = keys(ttl=100)
    clock.shift = 40
    found = store.dao("keyauth_credentials").select(made["id"])
    assert found is not None
    assert 59 <= found["ttl"] <= 60


@pytest.mark.parametrize(
    ("patch", "ttl"), [({}, 100), ({"ttl": 5}, 5), ({"ttl": 0}, None), ({"ttl": None}, None)], ids=str
)
def test_a_change_keeps_the_expiry_unless_it_names_one(
    store: Store, keys: Any, patch: dict[str, Any], ttl: int | None
) -> None:
    made = keys(ttl=100)
    assert store.dao("keyauth_credentials").update(made["id"], patch)["ttl"] == ttl


def test_a_replacement_without_ttl_lasts(store: Store, keys: Any) -> None:
    made = keys(key="k", ttl=100)
    replaced = store.dao("keyauth_credentials").upsert(made["id"], {"key": "k", "consumer": made["consumer"]})
    assert replaced["ttl"] is None


@pytest.mark.parametrize(("ttl", "text"), [(-1, "value should be between 0 and 100000000"), ("5", "expected a number")])
def test_impossible_expiries_are_refused(store: Store, keys: Any, ttl: Any, text: str) -> None:
    with pytest.raises(errors.SchemaViolation) as caught:
        keys(ttl=ttl)
    assert caught.value.fields == {"ttl": text}


def test_only_some_entities_expire(store: Store) -> None:
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("services").insert({"host": "h", "ttl": 5})
    assert caught.value.fields == {"ttl": "unknown field"}


def test_events_tell_old_and_new_keys_in_order(store: Store) -> None:
    store.origin = "node-1"
    made = store.dao("consumers").insert({"username": "a"})
    store.dao("consumers").update(made["id"], {"username": "b"})
    events = store.events_after(0)
    assert [(event.op, event.origin) for event in events] == [("create", "node-1"), ("update", "node-1")]
    first, last = (event.id for event in events)
    assert 0 < first < last
    assert events[1].cache_keys == (f"consumers:id:{made['id']}", "consumers:username:a", "consumers:username:b")
    assert store.events_after(first) == events[1:]
    assert store.events_after(0, limit=1) == events[:1]
    assert store.strategy.event_range() == (first, last)


def test_events_stay_an_hour_and_a_late_reader_is_told(store: Store, clock: Clock) -> None:
    insert_many(store, 3)
    clock.shift = base.EVENT_LIFETIME - 5
    store.strategy.prune()
    _, _, third = (event.id for event in store.events_after(0))
    insert_many(store, 1)
    clock.shift = base.EVENT_LIFETIME + 5
    store.strategy.prune()
    last = store.last_event_id()
    assert third < store.strategy.event_range()[0] == last
    assert [event.id for event in store.events_after(third)] == [last]
    with pytest.raises(errors.EventsLost):
        store.events_after(third - 1)
    clock.shift = 3 * base.EVENT_LIFETIME
    store.strategy.prune()
    assert store.strategy.event_range() == (last + 1, last)
    assert store.events_after(last) == []


def test_commits_without_events_take_no_event_along(store: Store, clock: Clock) -> None:
    """As the audit log's: a reader that has read everything has lost nothing when they grow old."""
    insert_many(store, 1)
    cursors = [store.last_event_id()]
    record = base.Put("audit_requests", "00000000-0000-4000-8000-000000000001", b"{}", base.Index())
    store.strategy.commit([record], [])
    assert store.events_after(cursors[0]) == []
    insert_many(store, 1)
    store.strategy.commit(
        [base.Delete(record.kind, record.id, store.strategy.read(record.kind, record.id).version)], []
    )
    cursors.append(store.events_after(cursors[0])[-1].id)
    assert store.events_after(cursors[1]) == []
    clock.shift = base.EVENT_LIFETIME + 5
    store.strategy.prune()
    assert store.events_after(cursors[1]) == []
    insert_many(store, 1)
    assert len(store.events_after(cursors[1])) == 1
    with pytest.raises(errors.EventsLost):
        store.events_after(cursors[0])


def test_events_of_one_commit_can_be_read_piece_by_piece(store: Store) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    for _ in range(5):
        store.dao("keyauth_credentials").insert({"consumer": {"id": consumer["id"]}})
    cursor = store.last_event_id()
    store.dao("consumers").delete(consumer["id"])
    every = store.events_after(cursor)
    pieces = []
    while piece := store.events_after(cursor, limit=4):
        pieces.append(len(piece))
        cursor = piece[-1].id
    assert (len(every), pieces) == (6, [4, 2])


def test_a_cursor_of_another_store_is_told(store: Store) -> None:
    with pytest.raises(errors.EventsLost):
        store.events_after(99)


@pytest.mark.parametrize("backend", PRUNING, indirect=True)
def test_pruning_removes_expired_rows_for_good(store: Store, clock: Clock, keys: Any) -> None:
    made = keys(key="k", ttl=10)
    clock.shift = 11
    store.strategy.prune()
    clock.shift = 0
    assert store.dao("keyauth_credentials").select(made["id"]) is None
    assert keys(key="k")
