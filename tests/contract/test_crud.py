"""Insert, read, replace, change, delete: the same on every strategy."""

from random import Random
from string import ascii_letters
from typing import Any
from uuid import uuid4

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.schema.lengths import LONGEST, LONGEST_TAG

MISSING = "00000000-0000-4000-8000-000000000000"


def test_insert_returns_what_select_finds(store: Store) -> None:
    services = store.dao("services")
    made = services.insert({"name": "s", "host": "example.test"})
    assert services.select(made["id"]) == made
    assert services.select_by("name", "s") == made


def test_the_longest_texts_are_kept_and_found(store: Store) -> None:
    """Random ones: databases compress what they index."""
    random = Random(7)
    name = "".join(random.choices(ascii_letters, k=LONGEST))
    tags = ["".join(random.choices(ascii_letters, k=LONGEST_TAG)) for _ in range(3)]
    consumers = store.dao("consumers")
    made = consumers.insert({"username": name, "custom_id": name, "tags": tags})
    assert consumers.select_by("username", name) == made
    assert consumers.select_by("custom_id", name) == made
    assert [entry["id"] for entry in consumers.page(10, None, tags)[0]] == [made["id"]]
    assert consumers.update(made["id"], {"tags": None})["tags"] is None


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("consumers", {"username": "x" * 10_000_000}, "username"),
        ("services", {"name": "s", "host": "x" * 10_000_000}, "host"),
        ("routes", {"paths": ["/" + "x" * 10_000_000]}, "paths"),
        ("consumers", {"username": "u", "tags": ["x" * 10_000_000]}, "tags"),
    ],
    ids=["username", "host", "paths", "tags"],
)
def test_what_is_too_long_is_refused_everywhere(store: Store, kind: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao(kind).insert(values)
    assert "length must be at most" in str(caught.value.fields[field])
    assert not list(store.dao(kind).each())


def test_many_are_read_together_in_the_order_asked_for(store: Store) -> None:
    routes = store.dao("routes")
    made = [routes.insert({"name": f"r{number}", "paths": ["/"]}) for number in range(120)]
    ids = [made[-1]["id"], MISSING, *(each["id"] for each in made)]
    assert list(routes.select_many(ids)) == [made[-1], None, *made]
    assert list(routes.select_many([])) == []


def test_an_inserted_service_has_every_field(store: Store) -> None:
    made = store.dao("services").insert({"name": "s", "url": "http://h/p"})
    generated = {name: made.pop(name) for name in ("id", "created_at", "updated_at")}
    assert made == {
        "name": "s",
        "protocol": "http",
        "host": "h",
        "port": 80,
        "path": "/p",
        "retries": 5,
        "connect_timeout": 60000,
        "write_timeout": 60000,
        "read_timeout": 60000,
        "tags": None,
        "client_certificate": None,
        "tls_verify": None,
        "tls_verify_depth": None,
        "ca_certificates": None,
        "enabled": True,
    }
    assert generated["created_at"] == generated["updated_at"]


def test_ids_are_found_in_any_case(store: Store) -> None:
    key = str(uuid4())
    store.dao("consumers").insert({"id": key.upper(), "username": "a"})
    found = store.dao("consumers").select(key.upper())
    assert found is not None
    assert found["id"] == key


def test_an_id_that_is_taken_is_refused(store: Store) -> None:
    made = store.dao("consumers").insert({"username": "a"})
    with pytest.raises(errors.PrimaryKeyViolation) as caught:
        store.dao("consumers").insert({"id": made["id"], "username": "b"})
    assert caught.value.to_dict() == {
        "code": 3,
        "name": "primary key violation",
        "message": f"primary key violation on key '{{id=\"{made['id']}\"}}'",
        "fields": {"id": made["id"]},
    }


def test_an_impossible_id_is_refused(store: Store) -> None:
    with pytest.raises(errors.InvalidPrimaryKey) as caught:
        store.dao("services").select("foo")
    assert caught.value.message == "invalid primary key: '{id=\"expected a valid UUID\"}'"


def test_a_key_that_breaks_its_rules_is_refused(store: Store) -> None:
    with pytest.raises(errors.InvalidUnique) as caught:
        store.dao("services").select_by("name", "a b")
    body = caught.value.to_dict()
    assert body["name"] == "invalid unique name"
    assert body["message"].startswith("invalid value 'a b': the only accepted ascii characters")
    assert "fields" not in body


def test_created_at_may_be_chosen_and_updated_at_may_not(store: Store) -> None:
    made = store.dao("consumers").insert({"username": "a", "created_at": 5, "updated_at": 5})
    assert made["created_at"] == 5
    assert made["updated_at"] > 5


def test_upsert_creates_under_the_id_of_the_path(store: Store) -> None:
    key = str(uuid4())
    made = store.dao("consumers").upsert(key, {"id": MISSING, "username": "a"})
    assert made["id"] == key
    assert store.dao("consumers").count() == 1


def test_upsert_replaces_as_a_whole(store: Store) -> None:
    consumers = store.dao("consumers")
    made = consumers.insert({"username": "a", "custom_id": "x", "tags": ["t"], "created_at": 5})
    replaced = consumers.upsert(made["id"], {"username": "b"})
    assert (replaced["username"], replaced["custom_id"], replaced["tags"]) == ("b", None, None)
    assert replaced["created_at"] > 5
    assert consumers.select_by("username", "a") is None


def test_upsert_by_key_takes_the_key_of_the_path_and_keeps_the_id(store: Store) -> None:
    consumers = store.dao("consumers")
    made = consumers.upsert_by("username", "a", {"custom_id": "1"})
    again = consumers.upsert_by("username", "a", {"custom_id": "2", "username": "ignored", "id": MISSING})
    assert (again["id"], again["username"], again["custom_id"]) == (made["id"], "a", "2")
    assert consumers.count() == 1


def test_update_merges(store: Store) -> None:
    services = store.dao("services")
    made = services.insert({"name": "s", "host": "h", "retries": 3})
    changed = services.update(made["id"], {"host": "other", "id": MISSING})
    assert (changed["id"], changed["host"], changed["retries"]) == (made["id"], "other", 3)
    assert services.select_by("name", "s") == changed


def test_update_by_key_can_rename(store: Store) -> None:
    services = store.dao("services")
    services.insert({"name": "s", "host": "h"})
    services.update_by("name", "s", {"name": "t"})
    assert services.select_by("name", "s") is None
    assert services.insert({"name": "s", "host": "h"})["name"] == "s"


def test_update_of_a_url_replaces_all_its_parts(store: Store) -> None:
    services = store.dao("services")
    made = services.insert({"url": "https://a:444/p"})
    changed = services.update(made["id"], {"url": "http://b"})
    assert (changed["protocol"], changed["host"], changed["port"], changed["path"]) == ("http", "b", 80, None)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"id": MISSING}, f"could not find the entity with primary key '{{id=\"{MISSING}\"}}'"),
        ({"name": "none"}, "could not find the entity with '{name=\"none\"}'"),
    ],
    ids=["id", "name"],
)
def test_update_of_nothing_is_an_error(store: Store, key: dict[str, str], message: str) -> None:
    services = store.dao("services")
    with pytest.raises(errors.EntityNotFound) as caught:
        if "id" in key:
            services.update(key["id"], {})
        else:
            services.update_by("name", key["name"], {})
    assert (caught.value.message, caught.value.fields) == (message, key)


def test_update_with_null_for_a_required_field_is_an_error(store: Store) -> None:
    made = store.dao("services").insert({"host": "h"})
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("services").update(made["id"], {"protocol": None})
    assert caught.value.message == "schema violation (protocol: required field missing)"


def test_an_update_that_leaves_no_name_is_an_error_with_its_own_text(store: Store) -> None:
    made = store.dao("consumers").insert({"username": "a"})
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("consumers").update(made["id"], {"username": None})
    assert caught.value.fields == {
        "@entity": ["when updating, at least one of these fields must be non-empty: 'custom_id', 'username'"]
    }


def test_a_failed_write_changes_nothing(store: Store) -> None:
    services = store.dao("services")
    made = services.insert({"name": "a", "host": "h"})
    services.insert({"name": "b", "host": "h"})
    before = store.last_event_id()
    with pytest.raises(errors.UniqueViolation):
        services.update(made["id"], {"name": "b", "tags": ["new"]})
    assert services.select(made["id"]) == made
    assert store.last_event_id() == before
    assert store.tags.page() == ([], None)


def test_delete_says_whether_there_was_something(store: Store) -> None:
    made = store.dao("consumers").insert({"username": "a"})
    assert store.dao("consumers").delete(made["id"]) is True
    assert store.dao("consumers").delete(made["id"]) is False
    assert store.dao("consumers").delete_by("username", "a") is False
    assert store.dao("consumers").insert({"username": "a"})["username"] == "a"


def test_plugin_settings_are_merged_by_record(store: Store) -> None:
    plugins = store.dao("plugins")
    made = plugins.insert({"name": "limit", "config": {"minute": 5, "redis": {"port": 1}}})
    changed = plugins.update(made["id"], {"config": {"redis": {"host": "h"}}})
    assert changed["config"] == {"minute": 5, "redis": {"host": "h", "port": 1}, "redis_host": "h"}


def test_an_old_name_is_translated_and_shown_beside_the_new_one(store: Store) -> None:
    made = store.dao("plugins").insert({"name": "limit", "config": {"redis_host": "h"}})
    assert made["config"]["redis"] == {"host": "h", "port": 6379}
    assert made["config"]["redis_host"] == "h"
    # A client that sends back what it read must succeed.
    assert store.dao("plugins").upsert(made["id"], made)["config"] == made["config"]


def test_old_and_new_name_must_agree(store: Store) -> None:
    made = store.dao("plugins").insert({"name": "limit"})
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("plugins").update(made["id"], {"config": {"redis_host": "a", "redis": {"host": "b"}}})
    assert caught.value.fields == {
        "config": {
            "redis_host": "both deprecated and new field are used but their values mismatch: "
            "redis_host = a vs redis.host = b"
        }
    }
