"""Entities that belong together: verbs below a parent and through a reference, references, cascades, publication."""

import pytest

NOT_FOUND = (404, {"message": "Not found"})
NOWHERE = "11111111-1111-4111-8111-111111111111"


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
