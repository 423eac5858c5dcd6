"""What declarative clients do: compute defaults from the schemas, put everything by id, dump, find no difference."""

from uuid import UUID, uuid5

import pytest

from tests.defaults import fill_config, fill_record

NAMESPACE = UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")
VOLATILE = ("created_at", "updated_at")


def identifier(collection, key):
    """The deterministic id that clients give to an entity without one."""
    return str(uuid5(uuid5(NAMESPACE, collection), key))


ENTITIES = {
    "least service": ("services", {"host": "h"}),
    "rich service": (
        "services",
        {"name": "s", "host": "h", "protocol": "https", "path": "/p", "tags": ["b", "a"], "tls_verify": True},
    ),
    "least route": ("routes", {"paths": ["/a"]}),
    "rich route": (
        "routes",
        {"hosts": ["b.test", "a.test"], "methods": ["PUT", "GET"], "headers": {"x-a": ["1"]}, "strip_path": False},
    ),
    "consumer": ("consumers", {"username": "u"}),
}


@pytest.mark.parametrize(("name", "given"), ENTITIES.values(), ids=ENTITIES)
def test_published_defaults_are_the_applied_ones(api, name, given):
    document = api.get(f"/schemas/{name}")[1]
    row = api.make(f"/{name}", **given)
    assert {key: value for key, value in row.items() if key not in ("id", *VOLATILE)} == fill_record(
        document["fields"], given
    )


CONFIGS = {
    "key-auth": ("key-auth", {}),
    "key-auth, given": ("key-auth", {"key_names": ["b", "a"], "anonymous": "x"}),
    "least limits": ("limits", {"minute": 5}),
    "nested": ("limits", {"hour": 5, "redis": {"host": "r"}, "headers": {"a": "1"}}),
    "array of records": ("limits", {"minute": 5, "rules": [{"path": "/a"}, {"path": "/b", "weight": 7}]}),
    "null given": ("limits", {"minute": 5, "policy": None}),
}


@pytest.mark.parametrize(("name", "given"), CONFIGS.values(), ids=CONFIGS)
def test_published_defaults_of_settings_are_the_applied_ones(api, name, given):
    document = api.get(f"/schemas/plugins/{name}")[1]
    fields = {key: field for entry in document["fields"] for key, field in entry.items()}
    row = api.make("/plugins", name=name, config=given)
    shorthands = {key for entry in fields["config"].get("shorthand_fields", ()) for key in entry}
    shown = {key: value for key, value in row["config"].items() if key not in shorthands}
    assert shown == fill_config(fields["config"], given)
    assert set(row["config"]) - set(shown) == shorthands
    assert row["protocols"] == fields["protocols"]["default"]


def test_a_deprecated_name_fills_the_new_one(api):
    row = api.make("/plugins", name="limits", config={"minute": 5, "redis_host": "r"})
    assert row["config"]["redis"]["host"] == row["config"]["redis_host"] == "r"


# -- sync and dump

SERVICES = [identifier("services", f"s{at}") for at in range(5)]
ROUTES = [identifier("routes", f"r{at}") for at in range(7)]
CONSUMERS = [identifier("consumers", f"c{at}") for at in range(3)]


def state():
    """Path of each entity and the object that a client puts there, parents first."""
    made = {}
    for at, key in enumerate(SERVICES):
        made[f"/services/{key}"] = {"id": key, "name": f"s{at}", "host": f"h{at}.test", "tags": ["team", f"t{at}"]}
    for at, key in enumerate(ROUTES):
        made[f"/routes/{key}"] = {
            "id": key,
            "name": f"r{at}",
            "paths": [f"/r{at}", f"~/x{at}/\\d+$"],
            "methods": ["GET", "POST"],
            "headers": {"x-b": ["2", "1"], "x-a": ["~*^a"]},
            "service": {"id": SERVICES[at % 5]},
            "tags": ["team"],
        }
    for at, key in enumerate(CONSUMERS):
        made[f"/consumers/{key}"] = {"id": key, "username": f"c{at}", "custom_id": f"id {at}", "tags": ["team"]}
        credential = identifier("key-auths", f"c{at}")
        made[f"/consumers/{key}/key-auth/{credential}"] = {"id": credential, "key": f"secret{at}", "tags": ["team"]}
    scopes = [{}, {"service": {"id": SERVICES[0]}}, {"route": {"id": ROUTES[1]}, "consumer": {"id": CONSUMERS[2]}}]
    for scope in scopes:
        key = identifier("plugins", f"limits{scope}")
        config = {"minute": 5, "redis": {"host": "r"}, "headers": {"b": "2", "a": "1"}}
        made[f"/plugins/{key}"] = {"id": key, "name": "limits", "config": config, "tags": ["team"], **scope}
    return made


LISTS = ("/services", "/routes", "/consumers", "/key-auths", "/plugins")
ENTERPRISE = ("/mtls-auths", "/licenses", "/consumer_groups", "/partials", "/degraphql_routes")


def sync(api):
    for path, body in state().items():
        status, row = api.put(path, body)
        assert status == 200, row
        assert row["id"] == body["id"]


def dump(api, query=""):
    found = {path: api.all(f"{path}") for path in LISTS} if not query else {}
    for path in LISTS if query else ():
        status, page = api.get(f"{path}?size=1000&{query}")
        assert status == 200
        found[path] = page["data"]
    return {
        path: [{key: value for key, value in row.items() if key not in VOLATILE} for row in rows]
        for path, rows in found.items()
    }


def test_a_second_sync_changes_nothing(api):
    assert api.get("/")[1]["version"] == "3.9.1"
    for path in ENTERPRISE:
        assert api.get(path)[0] == 404
    assert api.get("/filter-chains")[0] == 400
    sync(api)
    first = dump(api)
    assert sum(len(rows) for rows in first.values()) == len(state())
    sync(api)
    assert dump(api) == first


def test_a_dump_equals_the_state_with_defaults(api):
    sync(api)
    rows = {row["id"]: row for path in LISTS for row in api.all(path)}
    for path, given in state().items():
        collection = path.split("/")[1]
        if collection == "plugins":
            continue
        name = "keyauth_credentials" if "key-auth" in path else collection
        expected = fill_record(api.get(f"/schemas/{name}")[1]["fields"], given)
        if name == "keyauth_credentials":
            expected["consumer"] = {"id": path.split("/")[2]}
        shown = {key: value for key, value in rows[given["id"]].items() if key not in (*VOLATILE, "ttl")}
        assert shown == expected


def test_a_dump_can_be_put_back(api):
    sync(api)
    first = dump(api)
    for path in LISTS:
        for row in first[path]:
            assert api.put(f"{path}/{row['id']}", row)[0] == 200
    assert dump(api) == first


def test_a_dump_by_tags(api):
    sync(api)
    api.make("/consumers", username="other", tags=["t1"])
    assert sum(len(rows) for rows in dump(api, "tags=team").values()) == len(state())
    assert [row["name"] for row in dump(api, "tags=team,t3")["/services"]] == ["s3"]


def test_reset_deletes_children_first(api):
    sync(api)
    for path in reversed(state()):
        assert api.delete(path)[0] in (204, 404)
    assert dump(api) == {path: [] for path in LISTS}


def test_terraform_like_life(api):
    row = api.make("/services", name="s", url="http://a.test/p")
    assert api.get(f"/services/{row['id']}") == (200, row)
    status, changed = api.patch(f"/services/{row['id']}", {"retries": 1, "tags": ["x"]})
    assert (status, changed["retries"], changed["host"]) == (200, 1, "a.test")
    assert api.delete(f"/services/{row['id']}")[0] == 204
    assert api.get(f"/services/{row['id']}")[0] == 404


# -- credentials that expire


def test_ttl_of_a_key(api):
    api.make("/consumers", username="u")
    row = api.make("/consumers/u/key-auth", key="k", ttl=100)
    assert 0 < row["ttl"] <= 100
    assert 0 < api.get("/key-auths/k")[1]["ttl"] <= 100
    assert api.patch("/key-auths/k", {"ttl": 0})[1]["ttl"] is None


def test_put_without_a_ttl_removes_it(api):
    api.make("/consumers", username="u")
    api.make("/consumers/u/key-auth", key="k", ttl=100)
    assert api.put("/consumers/u/key-auth/k", {})[1]["ttl"] is None


@pytest.mark.parametrize("ttl", [-1, 100_000_001, "x"])
def test_bad_ttls(api, ttl):
    api.make("/consumers", username="u")
    status, body = api.post("/consumers/u/key-auth", {"key": "k", "ttl": ttl})
    assert (status, body["code"], list(body["fields"])) == (400, 2, ["ttl"])


def test_ttl_by_form(api):
    api.make("/consumers", username="u")
    status, row = api.form("/consumers/u/key-auth", "key=k&ttl=100")
    assert status == 201, row
    assert 0 < row["ttl"] <= 100
