"""Every verb on entities, by id and by key; found and missing."""

from uuid import uuid4

import pytest

NOT_FOUND = (404, {"message": "Not found"})
NOWHERE = "11111111-1111-4111-8111-111111111111"


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


# -- create

SERVICE = {
    "name": None,
    "retries": 5,
    "protocol": "http",
    "host": "h",
    "port": 80,
    "path": None,
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
ROUTE = {
    "name": None,
    "protocols": ["http", "https"],
    "https_redirect_status_code": 426,
    "strip_path": True,
    "preserve_host": False,
    "request_buffering": True,
    "response_buffering": True,
    "tags": None,
    "service": None,
    "snis": None,
    "sources": None,
    "destinations": None,
    "methods": None,
    "hosts": None,
    "paths": ["/a"],
    "headers": None,
    "regex_priority": 0,
    "path_handling": "v0",
}
CONSUMER = {"username": "u", "custom_id": None, "tags": None}
CREATED = {
    "services": ({"host": "h"}, SERVICE),
    "routes": ({"paths": ["/a"]}, ROUTE),
    "consumers": ({"username": "u"}, CONSUMER),
}


@pytest.mark.parametrize("collection", CREATED)
def test_create_fills_in_defaults(api, collection):
    body, expected = CREATED[collection]
    status, row = api.post(f"/{collection}", body)
    assert status == 201
    assert without(row, "id", "created_at", "updated_at") == expected
    assert row["created_at"] == row["updated_at"] > 1_700_000_000
    assert api.get(f"/{collection}/{row['id']}") == (200, row)


def test_create_a_plugin(api):
    row = api.make("/plugins", name="limits", config={"minute": 5})
    assert without(row, "id", "created_at", "updated_at") == {
        "name": "limits",
        "instance_name": None,
        "route": None,
        "service": None,
        "consumer": None,
        "config": {
            "minute": 5,
            "hour": None,
            "policy": "local",
            "error_code": 429,
            "headers": None,
            "rules": None,
            "redis": {"host": None, "port": 6379, "ssl": False},
            "redis_host": None,
        },
        "protocols": ["grpc", "grpcs", "http", "https"],
        "enabled": True,
        "tags": None,
    }


def test_create_a_credential(api):
    consumer = api.make("/consumers", username="u")
    row = api.make("/consumers/u/key-auth")
    assert without(row, "id", "created_at", "key") == {"consumer": {"id": consumer["id"]}, "tags": None, "ttl": None}
    assert len(row["key"]) == 32
    assert row["key"].isalnum()


def test_create_with_a_given_id(api):
    wanted = str(uuid4())
    assert api.make("/services", id=wanted, host="h")["id"] == wanted


def test_create_expands_the_url(api):
    row = api.make("/services", name="s", url="https://h.test/p?q#f")
    assert (row["protocol"], row["host"], row["port"], row["path"]) == ("https", "h.test", 443, "/p")
    assert "url" not in row


def test_create_without_content_type_validates_an_empty_object(api):
    status, body = api.call("POST", "/services")
    assert (status, body["code"], body["fields"]) == (400, 2, {"host": "required field missing"})


# -- identifiers

KEYED = {
    "services": ("name", {"host": "h"}),
    "routes": ("name", {"paths": ["/a"]}),
    "consumers": ("username", {}),
    "plugins": ("instance_name", {"name": "key-auth"}),
}


@pytest.mark.parametrize("collection", KEYED)
def test_read_by_id_in_either_case_and_by_key(api, collection):
    field, body = KEYED[collection]
    row = api.make(f"/{collection}", **{field: "the-key"}, **body)
    for key in (row["id"], row["id"].upper(), "the-key", "the%2Dkey"):
        assert api.get(f"/{collection}/{key}") == (200, row)


@pytest.mark.parametrize("collection", KEYED)
def test_read_of_nothing(api, collection):
    assert api.get(f"/{collection}/nothing") == NOT_FOUND
    assert api.get(f"/{collection}/{NOWHERE}") == NOT_FOUND


@pytest.mark.parametrize("path", ["/consumers/%C3%A9t%C3%A9", "/consumers/été"])
def test_keys_beyond_ascii(api, path):
    row = api.make("/consumers", username="été")
    assert api.get(path) == (200, row)


def test_keys_with_separators(api):
    row = api.make("/consumers", username="a/b c?d")
    assert api.get("/consumers/a%2Fb%20c%3Fd") == (200, row)


def test_a_username_that_is_a_uuid_is_no_key(api):
    row = api.make("/consumers", username=NOWHERE)
    assert api.get(f"/consumers/{NOWHERE}") == NOT_FOUND
    assert api.get(f"/consumers/{row['id']}") == (200, row)


# -- PUT


def test_put_creates_under_the_id_of_the_path(api):
    status, row = api.put(f"/services/{NOWHERE}", {"id": str(uuid4()), "host": "h"})
    assert (status, row["id"]) == (200, NOWHERE)
    assert api.get(f"/services/{NOWHERE}") == (200, row)


@pytest.mark.parametrize("collection", KEYED)
def test_put_creates_under_the_key_of_the_path(api, collection):
    field, body = KEYED[collection]
    status, row = api.put(f"/{collection}/fresh", {**body, field: "other"})
    assert (status, row[field]) == (200, "fresh")
    assert api.get(f"/{collection}/fresh") == (200, row)


@pytest.mark.parametrize("by", ["id", "name"])
def test_put_replaces_everything_but_the_id(api, by):
    old = api.make("/services", name="s", host="h", retries=9, tags=["t"], path="/p")
    status, new = api.put(f"/services/{old[by]}", {"host": "other", **({"name": "s"} if by == "id" else {})})
    assert status == 200
    expected = {**SERVICE, "id": old["id"], "name": "s", "host": "other"}
    assert without(new, "created_at", "updated_at") == expected
    assert api.all("/services") == [new]


def test_put_by_key_ignores_the_id_of_the_body(api):
    old = api.make("/services", name="s", host="h")
    _, new = api.put("/services/s", {"host": "h", "id": NOWHERE})
    assert new["id"] == old["id"]


def test_put_needs_required_fields(api):
    api.make("/services", name="s", host="h")
    status, body = api.put("/services/s", {"retries": 1})
    assert (status, body["fields"]) == (400, {"host": "required field missing"})
    assert api.get("/services/s")[1]["retries"] == 5


def test_put_keeps_a_creation_time_that_is_sent(api):
    _, row = api.put("/services/s", {"host": "h", "created_at": 1_600_000_000, "updated_at": 5})
    assert row["created_at"] == 1_600_000_000
    assert row["updated_at"] > 1_700_000_000


# -- PATCH


@pytest.mark.parametrize("by", ["id", "name"])
def test_patch_changes_what_is_sent(api, by):
    old = api.make("/services", name="s", host="h", retries=9, tags=["t"])
    status, new = api.patch(f"/services/{old[by]}", {"host": "other", "tags": None})
    assert status == 200
    assert without(new, "updated_at") == without({**old, "host": "other", "tags": None}, "updated_at")
    assert api.get("/services/s") == (200, new)


def test_patch_with_nothing_is_valid(api):
    old = api.make("/services", name="s", host="h")
    status, new = api.patch("/services/s", {})
    assert (status, without(new, "updated_at")) == (200, without(old, "updated_at"))


def test_patch_does_not_change_the_id(api):
    old = api.make("/services", name="s", host="h")
    _, new = api.patch("/services/s", {"id": NOWHERE})
    assert new["id"] == old["id"]


def test_patch_of_nothing_by_id(api):
    assert api.patch(f"/services/{NOWHERE}", {}) == (
        404,
        {
            "code": 6,
            "name": "not found",
            "message": f"could not find the entity with primary key '{{id=\"{NOWHERE}\"}}'",
            "fields": {"id": NOWHERE},
        },
    )


def test_patch_of_nothing_by_key(api):
    assert api.patch("/services/nothing", {}) == (
        404,
        {
            "code": 6,
            "name": "not found",
            "message": "could not find the entity with '{name=\"nothing\"}'",
            "fields": {"name": "nothing"},
        },
    )


def test_patch_of_no_plugin(api):
    assert api.patch(f"/plugins/{NOWHERE}", {}) == NOT_FOUND
    assert api.patch("/plugins/nothing", {}) == NOT_FOUND


def test_patch_merges_records_and_replaces_the_rest(api):
    config = {"minute": 5, "headers": {"a": "1", "b": "2"}, "redis": {"host": "r", "ssl": True}}
    row = api.make("/plugins", name="limits", config=config)
    status, new = api.patch(f"/plugins/{row['id']}", {"config": {"headers": {"c": "3"}, "redis": {"port": 1}}})
    assert status == 200
    assert new["config"]["redis"] == {"host": "r", "port": 1, "ssl": True}
    assert new["config"]["headers"] == {"c": "3"}
    assert new["config"]["minute"] == 5


def test_patch_null_for_a_required_field(api):
    api.make("/services", name="s", host="h")
    status, body = api.patch("/services/s", {"port": None})
    assert (status, body["fields"]) == (400, {"port": "required field missing"})


def test_patch_a_plugin_by_form_types_its_settings(api):
    row = api.make("/plugins", name="limits", config={"minute": 5})
    status, new = api.form(f"/plugins/{row['id']}", "config.minute=7&config.redis.ssl=true", "PATCH")
    assert status == 200
    assert (new["config"]["minute"], new["config"]["redis"]["ssl"]) == (7, True)


# -- DELETE


@pytest.mark.parametrize("by", ["id", "name"])
def test_delete(api, by):
    row = api.make("/services", name="s", host="h")
    assert api.delete(f"/services/{row[by]}") == (204, None)
    assert api.get(f"/services/{row['id']}") == NOT_FOUND


@pytest.mark.parametrize("key", [NOWHERE, "nothing"])
def test_delete_nothing(api, key):
    assert api.delete(f"/services/{key}") == (204, None)
