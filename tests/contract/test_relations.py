"""Unique values, references, cascades and cross-entity checks."""

from uuid import uuid4

import pytest

from kong_gevent import errors
from kong_gevent.db import Store

MISSING = "00000000-0000-4000-8000-000000000000"


def test_a_unique_value_is_held_once(store: Store) -> None:
    store.dao("services").insert({"name": "x", "host": "h"})
    with pytest.raises(errors.UniqueViolation) as caught:
        store.dao("services").insert({"name": "x", "host": "other"})
    assert caught.value.status == 409
    assert caught.value.to_dict() == {
        "code": 5,
        "name": "unique constraint violation",
        "message": "UNIQUE violation detected on '{name=\"x\"}'",
        "fields": {"name": "x"},
    }


def test_null_and_case_do_not_conflict(store: Store) -> None:
    services = store.dao("services")
    for name in (None, None, "x", "X"):
        services.insert({"name": name, "host": "h"})
    assert services.count() == 4


def test_one_plugin_per_combination_of_scopes(store: Store) -> None:
    service = store.dao("services").insert({"host": "h"})
    plugins = store.dao("plugins")
    plugins.insert({"name": "key-auth"})
    plugins.insert({"name": "key-auth", "service": {"id": service["id"]}})
    with pytest.raises(errors.UniqueViolation) as caught:
        plugins.insert({"name": "key-auth", "service": {"id": service["id"]}})
    assert caught.value.message == (
        "UNIQUE violation detected on "
        f'\'{{consumer=null,name="key-auth",route=null,service={{id="{service["id"]}"}}}}\''
    )
    assert caught.value.fields == {
        "consumer": None,
        "name": "key-auth",
        "route": None,
        "service": {"id": service["id"]},
    }


def test_a_reference_may_name_a_unique_field(store: Store) -> None:
    service = store.dao("services").insert({"name": "s", "host": "h"})
    route = store.dao("routes").insert({"paths": ["/"], "service": {"name": "s"}})
    assert route["service"] == {"id": service["id"]}


def test_a_reference_to_nothing_by_id(store: Store) -> None:
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        store.dao("routes").insert({"paths": ["/"], "service": {"id": MISSING}})
    assert caught.value.to_dict() == {
        "code": 4,
        "name": "foreign key violation",
        "message": f"the foreign key '{{id=\"{MISSING}\"}}' does not reference an existing 'services' entity.",
        "fields": {"service": {"id": MISSING}},
    }


def test_a_reference_to_nothing_by_name(store: Store) -> None:
    with pytest.raises(errors.ForeignKeysUnresolved) as caught:
        store.dao("routes").insert({"paths": ["/"], "service": {"name": "x"}})
    text = "the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity"
    assert caught.value.to_dict() == {
        "code": 13,
        "name": "foreign keys unresolved",
        "message": f"foreign key unresolved (service.name: {text})",
        "fields": {"service": {"name": text}},
    }


def test_several_references_to_nothing_are_reported_together(store: Store) -> None:
    with pytest.raises(errors.ForeignKeysUnresolved) as caught:
        store.dao("plugins").insert({"name": "limit", "service": {"name": "x"}, "consumer": {"username": "y"}})
    assert caught.value.message.startswith("2 foreign keys unresolved (consumer.username: ")


@pytest.mark.parametrize("reference", [{"protocol": "http"}, {"name": None}, {}])
def test_a_reference_without_a_key(store: Store, reference: dict[str, object]) -> None:
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("routes").insert({"paths": ["/"], "service": reference})
    assert caught.value.message == "schema violation (service.id: missing primary key)"


def test_a_service_with_routes_stays(store: Store) -> None:
    service = store.dao("services").insert({"name": "s", "host": "h"})
    store.dao("routes").insert({"paths": ["/"], "service": {"id": service["id"]}})
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        store.dao("services").delete_by("name", "s")
    assert caught.value.message == "an existing 'routes' entity references this 'services' entity"
    assert caught.value.fields == {"@referenced_by": "routes"}
    assert store.dao("services").select(service["id"]) == service


def test_a_route_that_left_its_service_no_longer_holds_it(store: Store) -> None:
    service = store.dao("services").insert({"host": "h"})
    route = store.dao("routes").insert({"paths": ["/"], "service": {"id": service["id"]}})
    store.dao("routes").update(route["id"], {"service": None})
    assert store.dao("services").delete(service["id"])


def test_what_belongs_to_a_consumer_goes_with_it_each_with_an_event(store: Store) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    scope = {"consumer": {"id": consumer["id"]}}
    keys = [store.dao("keyauth_credentials").insert({**scope, "key": key}) for key in ("k1", "k2")]
    plugin = store.dao("plugins").insert({**scope, "name": "limit"})
    other = store.dao("plugins").insert({"name": "limit"})
    cursor = store.last_event_id()
    store.dao("consumers").delete(consumer["id"])
    events = store.events_after(cursor)
    assert {(event.entity, event.key, event.op) for event in events} == {
        ("consumers", consumer["id"], "delete"),
        ("plugins", plugin["id"], "delete"),
        ("keyauth_credentials", keys[0]["id"], "delete"),
        ("keyauth_credentials", keys[1]["id"], "delete"),
    }
    assert "keyauth_credentials:key:k1" in {key for event in events for key in event.cache_keys}
    assert list(store.dao("keyauth_credentials").each()) == []
    assert list(store.dao("plugins").each()) == [other]


def test_a_cascade_larger_than_a_page_is_complete(store: Store) -> None:
    consumer = store.dao("consumers").insert({"username": "a"})
    for _ in range(520):
        store.dao("keyauth_credentials").insert({"consumer": {"id": consumer["id"]}})
    store.dao("consumers").delete(consumer["id"])
    assert store.dao("keyauth_credentials").count() == 0


def test_children_of_a_parent_are_listed(store: Store) -> None:
    consumers = [store.dao("consumers").insert({"username": name}) for name in "ab"]
    made = [
        store.dao("keyauth_credentials").insert({"consumer": {"id": consumers[n % 2]["id"]}})["id"] for n in range(7)
    ]
    listed, offset = store.dao("keyauth_credentials").page(2, parent=("consumer", consumers[0]["id"]))
    rest, end = store.dao("keyauth_credentials").page(2, offset, parent=("consumer", consumers[0]["id"]))
    assert [row["id"] for row in listed + rest] == sorted(made[::2])
    assert end is None


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("route", "must match the associated route's protocols"),
        ("service", "must match the protocols of at least one route pointing to this Plugin's service"),
    ],
)
def test_a_plugin_shares_a_protocol_with_its_routes(store: Store, scope: str, message: str) -> None:
    service = store.dao("services").insert({"host": "h"})
    link = {"id": service["id"]}
    route = store.dao("routes").insert({"protocols": ["grpc"], "paths": ["/"], "service": link})
    target = {"route": {"id": route["id"]}} if scope == "route" else {"service": link}
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("plugins").insert({"name": "limit", "protocols": ["http"], **target})
    assert caught.value.fields == {"protocols": message}
    assert store.dao("plugins").insert({"name": "limit", "protocols": ["http", "grpc"], **target})


def test_a_service_without_routes_takes_any_plugin(store: Store) -> None:
    service = store.dao("services").insert({"host": "h"})
    assert store.dao("plugins").insert({"name": "limit", "protocols": ["tcp"], "service": {"id": service["id"]}})


def test_a_reference_with_an_id_wins_over_other_keys(store: Store) -> None:
    service = store.dao("services").insert({"name": "s", "host": "h"})
    reference = {"id": service["id"].upper(), "name": "other"}
    assert store.dao("routes").insert({"paths": ["/"], "service": reference})["service"] == {"id": service["id"]}


def test_a_chosen_id_does_not_collide_across_entities(store: Store) -> None:
    key = str(uuid4())
    store.dao("services").insert({"id": key, "host": "h"})
    assert store.dao("consumers").insert({"id": key, "username": "a"})["id"] == key
