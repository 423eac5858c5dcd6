"""`/config` of a node with a datastore: change sets, dry runs, history."""

from typing import Any

import pytest

SERVICE = {"name": "a", "host": "h"}


def document(*services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"_format_version": "3.0", "services": list(services), **more}


def names(api: Any) -> set[str]:
    return {service["name"] for service in api.get("/services")[1]["data"]}


def test_a_document_is_a_change_set(api):
    status, body = api.call("POST", "/config", document(SERVICE))
    assert (status, body["summary"]) == (201, {"created": 1, "updated": 0, "deleted": 0, "unchanged": 0})
    assert body["changes"] == [{"op": "create", "entity": "services", "id": body["changes"][0]["id"], "name": "a"}]
    assert api.get("/config/history")[1]["data"][0]["id"] == body["id"]
    assert api.call("POST", "/config", document({"name": "b", "host": "h"}))[0] == 201
    assert names(api) == {"a", "b"}


def test_prune_deletes_the_rest(api):
    api.call("POST", "/services", {"name": "old", "host": "h", "tags": ["x"]})
    api.call("POST", "/services", {"name": "other", "host": "h"})
    status, body = api.call("POST", "/config?prune=1&tags=x", document(SERVICE))
    assert (status, body["summary"]["deleted"], names(api)) == (201, 1, {"a", "other"})
    api.call("POST", "/config?prune=true", document(SERVICE))
    assert names(api) == {"a"}


def test_a_dry_run_changes_nothing(api):
    status, body = api.call("POST", "/config?dry_run=1", document(SERVICE))
    assert (status, body["id"], body["summary"]["created"], names(api)) == (200, None, 1, set())
    assert api.get("/config/history")[1]["data"] == []


def test_rollback(api):
    api.call("POST", "/config", document(SERVICE))
    assert api.call("POST", "/config/rollback?dry_run=1", {})[1]["summary"]["deleted"] == 1
    assert names(api) == {"a"}
    assert api.call("POST", "/config/rollback", {})[0] == 200
    assert names(api) == set()
    api.call("POST", "/config", document(SERVICE))
    api.call("PATCH", "/services/a", {"host": "mine"})
    status, body = api.call("POST", "/config/rollback", {})
    assert (status, body["problems"]) == (409, ["services a: was changed since"])
    assert api.call("POST", "/config/rollback", {"id": 5})[0] == 400
    assert api.call("POST", "/config/rollback", {"id": "nope"})[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"config": ""}, 400), ({"config": 1}, 400), (document({"name": 5}), 400), ({"services": []}, 400)],
)
def test_bad_documents(api, body, status):
    assert api.call("POST", "/config", body)[0] == status
    assert names(api) == set()


@pytest.mark.parametrize("raw", ["[1]", "{", "nul", '"x"', '{"a":1,"a":2}', "\ud800".encode("utf-8", "surrogatepass")])
def test_bodies_that_are_no_object(api, raw):
    status, body = api.call("POST", "/config", data=raw, content_type="application/json")
    assert (status, body["code"]) == (400, 14)


def test_a_busy_store_asks_to_come_back(api):
    assert api.node.store.strategy.lock("configuration", "another", 30)
    status, body = api.call("POST", "/config", document(SERVICE))
    assert (status, body) == (429, {"message": "Currently loading previous configuration"})


def test_a_unique_value_of_another_entity_is_refused(api):
    api.call("POST", "/services", SERVICE)
    other = {"id": "11111111-1111-4111-8111-111111111111", **SERVICE}
    status, body = api.call("POST", "/config", document(other))
    assert (status, body["code"]) == (400, 14)
    assert "uniqueness violation" in body["message"]
