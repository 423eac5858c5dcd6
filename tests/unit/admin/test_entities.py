"""Every verb on entities: plain, by key, below a parent, through a reference; found and missing."""

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


# -- below a parent


@pytest.fixture
def family(api):
    """Two services with a route each, a consumer with a key."""
    rows = {name: api.make("/services", name=name, host="h") for name in ("one", "two")}
    for name in ("one", "two"):
        rows[f"route-{name}"] = api.make(f"/services/{name}/routes", name=f"route-{name}", paths=["/a"])
    rows["consumer"] = api.make("/consumers", username="u")
    rows["key"] = api.make("/consumers/u/key-auth", key="k")
    return rows


def test_the_path_decides_about_the_parent(api, family):
    row = api.make("/services/one/routes", paths=["/b"], service={"id": family["two"]["id"]})
    assert row["service"] == {"id": family["one"]["id"]}


@pytest.mark.parametrize("by", ["id", "name"])
def test_nested_list(api, family, by):
    assert api.get(f"/services/{family['one'][by]}/routes") == (200, {"data": [family["route-one"]], "next": None})


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/services/nothing/routes", f"/services/{NOWHERE}/routes", "/routes/nothing/plugins"])
def test_nested_list_of_no_parent(api, family, path, method):
    assert api.call(method, path, {"paths": ["/a"]} if method == "POST" else None) == NOT_FOUND


def test_nested_read(api, family):
    for key in ("route-one", family["route-one"]["id"]):
        assert api.get(f"/services/one/routes/{key}") == (200, family["route-one"])


NESTED_MISSES = {
    "other parent": "/services/two/routes/route-one",
    "no parent": "/services/nothing/routes/route-one",
    "no child": "/services/one/routes/nothing",
    "no child id": f"/services/one/routes/{NOWHERE}",
    "no key": "/consumers/u/key-auth/nothing",
    "no consumer": "/consumers/nothing/key-auth/k",
}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", NESTED_MISSES.values(), ids=NESTED_MISSES)
def test_nested_misses(api, family, method, path):
    assert api.call(method, path, {} if method == "PATCH" else None) == NOT_FOUND


def test_nested_put_creates(api, family):
    status, row = api.put(f"/services/one/routes/{NOWHERE}", {"paths": ["/b"]})
    assert (status, row["id"], row["service"]) == (200, NOWHERE, {"id": family["one"]["id"]})
    status, row = api.put("/services/one/routes/fresh", {"paths": ["/b"]})
    assert (status, row["name"], row["service"]) == (200, "fresh", {"id": family["one"]["id"]})
    status, row = api.put("/consumers/u/key-auth/fresh-key")
    assert (status, row["key"], row["consumer"]) == (200, "fresh-key", {"id": family["consumer"]["id"]})


def test_nested_put_replaces(api, family):
    old = family["route-one"]
    status, new = api.put(f"/services/one/routes/{old['id']}", {"name": "route-one", "hosts": ["h"]})
    assert (status, new["id"], new["paths"], new["hosts"]) == (200, old["id"], None, ["h"])
    assert new["service"] == old["service"]


@pytest.mark.parametrize("path", ["/services/nothing/routes/x", "/services/two/routes/route-one"])
def test_nested_put_elsewhere(api, family, path):
    assert api.put(path, {"paths": ["/a"]}) == NOT_FOUND
    assert api.get("/routes/route-one") == (200, family["route-one"])


def test_nested_patch_keeps_the_parent(api, family):
    status, row = api.patch("/services/one/routes/route-one", {"paths": ["/z"]})
    assert (status, row["paths"], row["service"]) == (200, ["/z"], {"id": family["one"]["id"]})


def test_nested_patch_moves(api, family):
    status, row = api.patch("/services/one/routes/route-one", {"service": {"name": "two"}})
    assert (status, row["service"]) == (200, {"id": family["two"]["id"]})
    assert api.get("/services/one/routes/route-one") == NOT_FOUND


def test_nested_patch_detaches(api, family):
    status, row = api.patch("/services/one/routes/route-one", {"service": None})
    assert (status, row["service"]) == (200, None)


def test_nested_delete(api, family):
    assert api.delete("/services/one/routes/route-one") == (204, None)
    assert api.delete("/services/one/routes/route-one") == NOT_FOUND
    assert api.get("/routes/route-one") == NOT_FOUND


# -- through a reference


def test_reference_read(api, family):
    assert api.get("/routes/route-one/service") == (200, family["one"])
    assert api.get("/key-auths/k/consumer") == (200, family["consumer"])


def test_reference_patch(api, family):
    status, row = api.patch("/routes/route-one/service", {"host": "new"})
    assert (status, row["host"], row["id"]) == (200, "new", family["one"]["id"])


def test_reference_put_replaces(api, family):
    status, row = api.put("/routes/route-one/service", {"host": "new"})
    assert (status, row["id"], row["host"], row["name"]) == (200, family["one"]["id"], "new", None)


def test_reference_put_makes_and_links(api):
    route = api.make("/routes", name="r", paths=["/a"])
    status, service = api.put("/routes/r/service", {"host": "new"})
    assert status == 200
    assert api.get(f"/routes/{route['id']}")[1]["service"] == {"id": service["id"]}
    assert api.get(f"/services/{service['id']}") == (200, service)


@pytest.mark.parametrize("path", ["/routes/r/service", "/routes/nothing/service", f"/plugins/{NOWHERE}/consumer"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_reference_to_nothing(api, method, path):
    api.make("/routes", name="r", paths=["/a"])
    assert api.call(method, path, {} if method == "PATCH" else None) == NOT_FOUND


def test_reference_put_without_owner(api):
    assert api.put("/routes/nothing/service", {"host": "h"}) == NOT_FOUND
    assert api.all("/services") == []


def test_reference_delete_is_not_allowed(api, family):
    assert api.delete("/routes/route-one/service") == (405, {"message": "Method not allowed"})
    assert api.get("/services/one")[0] == 200


# -- references in bodies


@pytest.mark.parametrize("by", ["id", "name"])
def test_references_by_id_and_key(api, family, by):
    row = api.make("/routes", paths=["/b"], service={by: family["one"][by]})
    assert row["service"] == {"id": family["one"]["id"]}


def test_a_plugin_of_every_scope(api, family):
    row = api.make(
        "/plugins",
        name="limits",
        config={"minute": 1},
        service={"name": "one"},
        route={"name": "route-one"},
        consumer={"username": "u"},
    )
    scopes = {"service": "one", "route": "route-one", "consumer": "consumer"}
    assert {scope: row[scope] for scope in scopes} == {s: {"id": family[name]["id"]} for s, name in scopes.items()}
    for path in ("/services/one/plugins", "/routes/route-one/plugins", "/consumers/u/plugins"):
        assert api.get(path)[1]["data"] == [row]


# -- cascades


def test_deleting_a_consumer_takes_what_is_its_own(api, family):
    api.make("/consumers/u/plugins", name="limits", config={"minute": 1})
    assert api.delete("/consumers/u") == (204, None)
    assert api.get("/key-auths/k") == NOT_FOUND
    assert api.all("/plugins") == []


def test_deleting_a_route_takes_its_plugins(api, family):
    api.make("/routes/route-one/plugins", name="key-auth")
    assert api.delete("/routes/route-one") == (204, None)
    assert api.all("/plugins") == []


# -- publication


WRITES = {
    "create": ("POST", "/services", {"host": "h"}),
    "put": ("PUT", "/services/one", {"host": "h"}),
    "put new": ("PUT", "/services/new", {"host": "h"}),
    "patch": ("PATCH", "/services/one", {}),
    "delete": ("DELETE", "/routes/route-one", None),
    "nested create": ("POST", "/services/one/routes", {"paths": ["/a"]}),
    "nested put": ("PUT", "/services/one/routes/route-one", {"paths": ["/a"]}),
    "nested patch": ("PATCH", "/services/one/routes/route-one", {}),
    "nested delete": ("DELETE", "/services/one/routes/route-one", None),
    "reference put": ("PUT", "/routes/route-one/service", {"host": "h"}),
    "reference patch": ("PATCH", "/routes/route-one/service", {}),
}


@pytest.mark.parametrize(("method", "path", "body"), WRITES.values(), ids=WRITES)
def test_every_write_is_published_once(api, family, method, path, body):
    before = api.node.publications
    status, _ = api.call(method, path, body)
    assert status < 300
    assert api.node.publications == before + 1


REFUSED = {
    "create": ("POST", "/services", {}),
    "put": ("PUT", "/services/one", {}),
    "patch": ("PATCH", "/services/one", {"port": -1}),
    "patch nothing": ("PATCH", "/services/nothing", {}),
    "delete nothing": ("DELETE", "/services/nothing", None),
    "delete with children": ("DELETE", "/services/one", None),
    "read": ("GET", "/services/one", None),
}


@pytest.mark.parametrize(("method", "path", "body"), REFUSED.values(), ids=REFUSED)
def test_nothing_else_is_published(api, family, method, path, body):
    before = api.node.publications
    api.call(method, path, body)
    assert api.node.publications == before
