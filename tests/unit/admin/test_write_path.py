"""What becomes of what is written: values as they are stored, merged, derived and replaced, row by row."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.admin.world import SEEDS, World

JSON = dict[str, Any]
LONG = "[0000:0000:0000:0000:0000:0000:0000:0001]"
CREATED: list[tuple[str, JSON, JSON]] = [
    # the shorthand of services
    ("/services", {"url": "http://h"}, {"protocol": "http", "host": "h", "port": 80, "path": None}),
    ("/services", {"url": "https://h"}, {"protocol": "https", "host": "h", "port": 443, "path": None}),
    ("/services", {"url": "h:80"}, {"protocol": "http", "host": "h", "port": 80, "path": None}),
    ("/services", {"url": "h:443/p"}, {"protocol": "https", "host": "h", "port": 443, "path": "/p"}),
    ("/services", {"url": "https://h:99/a?x#y"}, {"protocol": "https", "host": "h", "port": 99, "path": "/a"}),
    ("/services", {"url": "grpcs://h"}, {"protocol": "grpcs", "host": "h", "port": 80, "path": None}),
    ("/services", {"url": "https://h/x", "port": 5, "host": "z", "path": "/q", "protocol": "http"},
     {"protocol": "https", "host": "h", "port": 443, "path": "/x"}),
    # numbers, nulls, collections
    ("/services", {"host": "h", "retries": 5.0}, {"retries": 5}),
    ("/services", {"host": "h", "retries": None, "read_timeout": None}, {"retries": None, "read_timeout": None}),
    ("/services", {"host": "h", "created_at": 5}, {"created_at": 5}),
    ("/routes", {"paths": ["/a", "/a"], "hosts": ["B.test", "B.test"]}, {"paths": ["/a"] * 2, "hosts": ["B.test"] * 2}),
    ("/routes", {"paths": ["/a"], "methods": ["PUT", "GET", "PUT"], "protocols": ["https", "http", "https"],
                 "tags": ["b", "a", "b"], "snis": ["a.test", "a.test"]},
     {"methods": ["PUT", "GET"], "protocols": ["https", "http"], "tags": ["b", "a"], "snis": ["a.test"]}),
    ("/routes", {"paths": ["/a"], "protocols": ["grpc"]}, {"strip_path": False}),
    ("/routes", {"paths": ["/a"], "regex_priority": 2**53}, {"regex_priority": 2**53}),
    ("/consumers", {"username": " é b "}, {"username": " é b "}),
    # what upstreams derive
    ("/upstreams", {"name": "x", "hash_on": "consumer"}, {"algorithm": "consistent-hashing", "hash_on": "consumer"}),
    ("/upstreams", {"name": "x", "hash_on": None}, {"algorithm": "round-robin", "hash_on": "none"}),
    ("/upstreams", {"name": "x", "algorithm": "latency"}, {"algorithm": "latency", "hash_on": "none"}),
    ("/upstreams", {"name": "x", "algorithm": "least-connections", "hash_on": "ip"},
     {"algorithm": "least-connections", "hash_on": "none"}),
    *(("/upstreams/up/targets", {"target": sent}, {"target": stored}) for sent, stored in (
        ("foo", "foo:8000"), ("1.2.3.4", "1.2.3.4:8000"), ("::1", f"{LONG}:8000"), ("[::1]:9", f"{LONG}:9"))),
    # references, the path's word against the body's
    ("/services/s/routes", {"paths": ["/a"], "service": None}, {"service": {"id": "<services>"}}),
    ("/routes", {"paths": ["/a"], "service": {"id": "<services>", "name": "s"}}, {"service": {"id": "<services>"}}),
    ("/routes", {"paths": ["/a"], "service": {"name": "s"}}, {"service": {"id": "<services>"}}),
    ("/upstreams/up/targets", {"target": "z:1", "upstream": {"id": "<services>"}}, {"upstream": {"id": "<upstreams>"}}),
    ("/plugins", {"name": "cors", "consumer": None, "route": {"name": "r"}}, {"route": {"id": "<routes>"}}),
    # credentials
    ("/consumers/u/jwt", {}, {"algorithm": "HS256", "rsa_public_key": None}),
    ("/consumers/u/key-auth", {"key": "z", "ttl": 0}, {"ttl": None}),
    ("/plugins", {"name": "rate-limiting", "config": {"minute": 1, "redis_host": "h"}}, {"name": "rate-limiting"}),
]  # fmt: skip
"""Path, what is posted, and some of what is answered; `<kind>` stands for the id of the seeded entity."""

CHANGED: list[tuple[str, JSON, JSON]] = [
    ("/services/s", {"url": "http://n"}, {"protocol": "http", "host": "n", "port": 80, "path": None, "retries": 5}),
    ("/services/s", {"id": "11111111-1111-4111-8111-111111111111"}, {"id": "<services>"}),
    ("/services/s", {"tags": ["x"], "path": "/y"}, {"tags": ["x"], "path": "/y", "host": "h"}),
    ("/routes/r", {"headers": {"b": ["2"]}}, {"headers": {"b": ["2"]}}),
    ("/routes/r", {"service": {"name": "s"}}, {"service": {"id": "<services>"}}),
    ("/services/s/routes/r", {"service": None}, {"service": None}),
    ("/upstreams/up", {"algorithm": "latency"}, {"algorithm": "latency", "hash_on": "none"}),
    ("/upstreams/up/targets/h:80", {"weight": 0}, {"weight": 0, "target": "h:80"}),
    ("/plugins/p", {"config": {"hide_credentials": True}},
     {"config": {"key_names": ["apikey"], "hide_credentials": True, "anonymous": None, "key_in_header": True,
                 "key_in_query": True, "key_in_body": False, "run_on_preflight": True, "realm": None}}),
    ("/plugins/p", {"instance_name": None}, {"instance_name": None, "name": "key-auth"}),
    ("/certificates/own.test", {"tags": ["x"]}, {"tags": ["x"], "snis": ["own.test"]}),
    ("/certificates/own.test", {"snis": ["b.test", "a.test"]}, {"snis": ["a.test", "b.test"]}),
    ("/certificates/own.test", {"snis": None}, {"snis": []}),
    ("/key-auths/k", {"ttl": 100, "key": "l"}, {"key": "l"}),
    ("/basic-auths/b", {"username": "c"}, {"username": "c", "password": "<hash>"}),
    ("/consumers/u", {"username": None}, {"username": None, "custom_id": "c"}),
]  # fmt: skip
"""The same for PATCH."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(str(tmp_path_factory.mktemp("writes")))
    yield made
    made.store.close()


@pytest.fixture(autouse=True)
def put_back(world: World) -> Iterator[None]:
    yield
    world.put_back()


def named(world: World, value: Any) -> Any:
    """With ids in place of their names."""
    if isinstance(value, dict):
        return {key: named(world, item) for key, item in value.items()}
    if value == "<hash>":
        return hashlib.sha1(f"x{world.ids['consumers']}".encode()).hexdigest()
    return world.ids[value[1:-1]] if isinstance(value, str) and re.fullmatch("<.*>", value) else value


@pytest.mark.parametrize(("method", "rows"), [("POST", CREATED), ("PATCH", CHANGED)])
def test_what_is_answered_and_stored(world: World, method: str, rows: list[tuple[str, JSON, JSON]]) -> None:
    for path, body, expected in rows:
        status, row = world.api.call(method, path, named(world, body))
        assert status == (201 if method == "POST" else 200), (path, body, row)
        assert {name: row[name] for name in expected} == named(world, expected), (path, body)
        again = world.api.get(f"{path}/{row['id']}" if method == "POST" else f"{path.rpartition('/')[0]}/{row['id']}")
        if expected.get("service", 1) is not None:  # which is not below that service any more
            assert again == (200, row) or row.get("ttl"), (path, body, again)
        world.put_back()


def test_old_and_new_names_are_written_alike(world: World) -> None:
    row = world.api.make("/plugins", name="rate-limiting", config={"minute": 1, "redis_host": "h"})
    path = f"/plugins/{row['id']}"
    assert row["config"]["redis"]["host"] == row["config"]["redis_host"] == "h"
    config = world.api.patch(path, {"config": {"redis": {"port": 1}}})[1]["config"]
    assert (config["redis"]["host"], config["redis"]["port"], config["redis_port"]) == ("h", 1, 1)
    config = world.api.patch(path, {"config": {"redis_host": "i"}})[1]["config"]
    assert config["redis"]["host"] == config["redis_host"] == "i"
    config = world.api.patch(path, {"config": {"redis_host": "j", "redis": {"host": "j"}}})[1]["config"]
    assert config["redis"]["host"] == "j"
    status, body = world.api.patch(path, {"config": {"redis_host": "k", "redis": {"host": "l"}}})
    assert status == 400 and "values mismatch" in body["message"]


PUT: list[tuple[str, JSON, JSON]] = [
    ("/services/s", {"host": "n"}, {"name": "s", "host": "n", "protocol": "http", "tags": None}),
    ("/services/<services>", {"host": "n"}, {"id": "<services>", "name": None}),
    ("/services/new", {"host": "n", "id": "11111111-1111-4111-8111-111111111111"}, {"name": "new"}),
    ("/consumers/new", {}, {"username": "new", "custom_id": None}),
    ("/plugins/new", {"name": "cors"}, {"instance_name": "new", "name": "cors"}),
    ("/plugins/p", {"name": "key-auth", "config": {"key_names": ["z"]}}, {"service": None, "instance_name": "p"}),
    ("/upstreams/new", {}, {"name": "new", "slots": 10000}),
    ("/vaults/new", {"name": "env"}, {"prefix": "new", "description": None}),
    ("/key-sets/new", {}, {"name": "new"}),
    ("/consumers/u/acls/new", {}, {"group": "new"}),
    ("/consumers/u/key-auth/new", {}, {"key": "new", "consumer": {"id": "<consumers>"}}),
    ("/key-auths/k", {"consumer": {"username": "u"}}, {"key": "k", "ttl": None}),
    ("/upstreams/up/targets/h:80", {"weight": 7}, {"weight": 7, "target": "h:80", "id": "<targets>"}),
    ("/routes/r/service", {"host": "z"}, {"id": "<services>", "host": "z", "name": None}),
]
"""Replaced or made, under the identifier of the path."""


@pytest.mark.parametrize(("path", "body", "expected"), PUT, ids=[path for path, *_ in PUT])
def test_put(world: World, path: str, body: JSON, expected: JSON) -> None:
    path = re.sub("<(.*)>", lambda found: world.ids[found[1]], path)
    status, row = world.api.put(path, body)
    assert status == 200, row
    assert {name: row[name] for name in expected} == named(world, expected)
    assert world.api.get(path) == (200, row)
    assert "id" not in body or row["id"] != body["id"]


def test_put_of_a_target_makes_none(world: World) -> None:
    assert world.api.put("/upstreams/up/targets/nothing:1", {"weight": 1}) == (404, {"message": "Not found"})


def test_every_kind_shows_all_of_its_fields(world: World) -> None:
    """Unset ones as null: clients treat a missing key as something else."""
    for name in SEEDS:
        path = f"/{world.store.catalogue[name].collection}/{world.ids[name]}"
        if name == "targets":
            path = "/upstreams/up/targets/h:80"
        row = world.api.get(path)[1]
        missing = set(world.shapes[name]) - set(row)
        assert not missing, (name, missing)
        assert set(row) - set(world.shapes[name]) <= {"snis", "ttl"}, name
