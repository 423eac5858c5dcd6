"""Upstreams, their targets, and the health that a node tells of them."""

import pytest

from kong_gevent.admin import LocalNode
from kong_gevent.balancer.health import UpstreamHealth

NOWHERE = "11111111-1111-4111-8111-111111111111"
NOT_FOUND = (404, {"message": "Not found"})


@pytest.fixture
def upstream(api):
    return api.make("/upstreams", name="u.test")


# -- upstreams


@pytest.mark.parametrize(
    ("given", "algorithm", "hash_on"),
    [
        ({}, "round-robin", "none"),
        ({"hash_on": "ip"}, "consistent-hashing", "ip"),
        ({"hash_on": "none", "algorithm": "consistent-hashing"}, "round-robin", "none"),
        ({"hash_on": None, "algorithm": "consistent-hashing"}, "consistent-hashing", "none"),
        ({"hash_on": "ip", "algorithm": "round-robin"}, "consistent-hashing", "ip"),
        ({"hash_on": "ip", "algorithm": "least-connections"}, "least-connections", "none"),
        ({"hash_on": "none", "algorithm": "latency"}, "latency", "none"),
        ({"algorithm": "consistent-hashing"}, "consistent-hashing", "none"),
    ],
)
def test_what_is_hashed_and_the_algorithm_follow_each_other(api, given, algorithm, hash_on):
    row = api.make("/upstreams", name="u.test", **given)
    assert (row["algorithm"], row["hash_on"]) == (algorithm, hash_on)
    # A later change of something else leaves both alone, and so does a dump that is put back (but for hashing nothing).
    assert api.patch("/upstreams/u.test", {"slots": 100})[1]["algorithm"] == algorithm
    if (algorithm, hash_on) != ("consistent-hashing", "none"):
        again = api.put(f"/upstreams/{row['id']}", row)[1]
        assert (again["algorithm"], again["hash_on"]) == (algorithm, hash_on)


def test_changing_the_algorithm_resets_what_is_hashed(api, upstream):
    assert api.patch("/upstreams/u.test", {"hash_on": "ip"})[1]["algorithm"] == "consistent-hashing"
    row = api.patch("/upstreams/u.test", {"algorithm": "least-connections"})[1]
    assert (row["algorithm"], row["hash_on"]) == ("least-connections", "none")
    assert api.patch("/upstreams/u.test", {"hash_on": "none"})[1]["algorithm"] == "round-robin"


def test_health_checks_are_merged(api, upstream):
    row = api.patch("/upstreams/u.test", {"healthchecks": {"active": {"healthy": {"interval": 5}}}})[1]
    expected = upstream["healthchecks"]
    expected["active"]["healthy"]["interval"] = 5
    assert row["healthchecks"] == expected
    status, body = api.patch("/upstreams/u.test", {"healthchecks": {"active": {"timeout": -1}}})
    assert body["fields"] == {"healthchecks": {"active": {"timeout": "value should be between 0 and 65535"}}}


def test_forms_reach_into_health_checks(api, upstream):
    text = "healthchecks.active.healthy.http_statuses[]=200&healthchecks.passive.unhealthy.http_failures=5"
    row = api.form("/upstreams/u.test", text, "PATCH")[1]
    assert row["healthchecks"]["active"]["healthy"]["http_statuses"] == [200]
    assert row["healthchecks"]["passive"]["unhealthy"]["http_failures"] == 5


# -- targets


def test_targets(api, upstream):
    row = api.make("/upstreams/u.test/targets", target="h", tags=["t"])
    assert {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")} == {
        "upstream": {"id": upstream["id"]},
        "target": "h:8000",
        "weight": 100,
        "tags": ["t"],
    }
    assert row["created_at"] == row["updated_at"] != int(row["created_at"])
    for key in (row["id"], "h:8000", "h"):
        assert api.get(f"/upstreams/u.test/targets/{key}") == (200, row)
    assert api.get(f"/upstreams/{upstream['id']}/targets/h:8001") == NOT_FOUND


def test_the_path_decides_about_the_upstream(api, upstream):
    other = api.make("/upstreams", name="v.test")
    row = api.make("/upstreams/u.test/targets", target="h", upstream={"id": other["id"]})
    assert row["upstream"] == {"id": upstream["id"]}
    assert api.get(f"/upstreams/v.test/targets/{row['id']}") == NOT_FOUND
    assert api.post(f"/upstreams/{NOWHERE}/targets", {"target": "h"}) == NOT_FOUND


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("h", "h:8000"),
        ("h.test:81", "h.test:81"),
        ("1.2.3.4", "1.2.3.4:8000"),
        ("[::1]:80", "[0000:0000:0000:0000:0000:0000:0000:0001]:80"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
    ],
)
def test_targets_are_stored_with_their_port(api, upstream, sent, stored):
    assert api.make("/upstreams/u.test/targets", target=sent)["target"] == stored
    assert api.get(f"/upstreams/u.test/targets/{sent}")[1]["target"] == stored


@pytest.mark.parametrize("target", ["a b", "h:99999", "-:1:2", "h:"])
def test_wrong_targets(api, upstream, target):
    status, body = api.post("/upstreams/u.test/targets", {"target": target})
    assert (status, body["fields"]) == (400, {"target": "Invalid target; not a valid hostname or ip address"})
    checked = api.post("/schemas/targets/validate", {"target": target, "upstream": {"id": NOWHERE}})[1]
    assert checked["fields"] == {"target": f"Invalid target ('{target}'); not a valid hostname or ip address"}


def test_a_target_is_there_once(api, upstream):
    api.make("/upstreams/u.test/targets", target="h")
    status, body = api.post("/upstreams/u.test/targets", {"target": "h:8000"})
    assert (status, body["code"]) == (409, 5)
    assert body["fields"] == {"target": "h:8000", "upstream": {"id": upstream["id"]}}
    api.make("/upstreams", name="v.test")
    assert api.make("/upstreams/v.test/targets", target="h")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_put_changes_a_target_as_patch_does(api, upstream, method):
    row = api.make("/upstreams/u.test/targets", target="h", tags=["t"])
    changed = api.call(method, "/upstreams/u.test/targets/h:8000", {"weight": 0})[1]
    assert (changed["id"], changed["weight"], changed["tags"]) == (row["id"], 0, ["t"])
    assert changed["created_at"] == row["created_at"] < changed["updated_at"] + 1
    for key in (NOWHERE, "x:1"):
        assert api.call(method, f"/upstreams/u.test/targets/{key}", {"target": "y"}) == NOT_FOUND


def test_deleting(api, upstream):
    api.make("/upstreams/u.test/targets", target="h")
    assert api.delete("/upstreams/u.test/targets/h:8000") == (204, None)
    assert api.delete("/upstreams/u.test/targets/h:8000") == NOT_FOUND
    row = api.make("/upstreams/u.test/targets", target="h")
    assert api.delete("/upstreams/u.test") == (204, None)
    api.put(f"/upstreams/{upstream['id']}", {"name": "u.test"})
    assert api.get(f"/upstreams/u.test/targets/{row['id']}") == NOT_FOUND


def test_the_newest_target_comes_first(api, upstream):
    made = [api.make("/upstreams/u.test/targets", target=f"h{at}", created_at=1000.5 + at) for at in range(5)]
    newest = made[::-1]
    assert api.get("/upstreams/u.test/targets")[1] == {"data": newest, "next": None}
    assert api.get("/upstreams/u.test/targets?size=2")[1] == {
        "data": newest[:2],
        "next": "/upstreams/u.test/targets?offset=2",
        "offset": "2",
    }
    assert api.get("/upstreams/u.test/targets?size=2&offset=4")[1] == {"data": newest[4:], "next": None}
    raw = api.get("/upstreams/u.test/targets/all?size=3")[1]
    assert raw["data"] == sorted(made, key=lambda row: row["id"])[:3]
    assert raw["next"] == f"/upstreams/u.test/targets/all?offset={raw['offset']}"


@pytest.mark.parametrize("query", ["offset=x", "offset=-1", "size=0"])
def test_wrong_pages(api, upstream, query):
    status, body = api.get(f"/upstreams/u.test/targets?{query}")
    assert (status, body["code"]) == (400, 9 if "size" in query else 7)


@pytest.mark.parametrize("path", ["/targets", f"/targets/{NOWHERE}", f"/targets/{NOWHERE}/upstream"])
def test_targets_have_no_paths_of_their_own(api, path):
    assert api.get(path) == NOT_FOUND
    assert path.replace(NOWHERE, "{targets}") in api.get("/endpoints")[1]["data"]


# -- health


def test_health_without_a_balancer(api, upstream):
    row = api.make("/upstreams/u.test/targets", target="h:81", weight=7)
    weight = {"total": 7, "available": 7, "unavailable": 0}
    host = {"host": "h", "port": 81, "weight": weight, "nodeWeight": 7, "dns": "unknown", "addresses": []}
    assert api.get("/upstreams/u.test/health")[1] == {
        "data": [{**row, "health": "HEALTHCHECKS_OFF", "data": host}],
        "next": None,
        "node_id": api.node.node_id,
    }
    assert api.get("/upstreams/u.test/health?balancer_health=1")[1] == {
        "data": {
            "id": upstream["id"],
            "health": "HEALTHCHECKS_OFF",
            "balancer_health": "HEALTHY",
            "details": {"healthy": True, "weight": weight, "hosts": [host]},
        },
        "next": None,
        "node_id": api.node.node_id,
    }
    assert api.get(f"/upstreams/{NOWHERE}/health") == NOT_FOUND


@pytest.mark.parametrize(("threshold", "weight"), [(100, 1), (0, 0)])
def test_an_upstream_that_can_never_be_healthy(api, upstream, threshold, weight):
    api.patch("/upstreams/u.test", {"healthchecks": {"threshold": threshold}})
    api.make("/upstreams/u.test/targets", target="h", weight=weight)
    shown = api.get("/upstreams/u.test/health?balancer_health=1")[1]["data"]
    assert (shown["balancer_health"], shown["details"]["healthy"]) == ("UNHEALTHY", False)


def test_health_that_the_balancer_knows(api, node: LocalNode, upstream):
    row = api.make("/upstreams/u.test/targets", target="h")
    told = {"health": "UNHEALTHY", "data": {"host": "h", "addresses": [{"ip": "127.0.0.1"}]}}
    node.health[upstream["id"]] = UpstreamHealth({row["id"]: told}, "UNHEALTHY", True, {"healthy": False})
    assert api.get("/upstreams/u.test/health")[1]["data"] == [{**row, **told}]
    shown = api.get("/upstreams/u.test/health?balancer_health=1")[1]["data"]
    assert (shown["health"], shown["balancer_health"]) == ("UNHEALTHY", "UNHEALTHY")
    assert shown["details"] == {"healthy": False}


@pytest.mark.parametrize(("word", "healthy"), [("healthy", True), ("unhealthy", False)])
def test_setting_health(api, node: LocalNode, upstream, word, healthy):
    row = api.make("/upstreams/u.test/targets", target="h")
    assert api.put(f"/upstreams/u.test/targets/{row['id']}/{word}") == (204, None)
    assert api.put(f"/upstreams/u.test/targets/h:8000/127.0.0.1:8000/{word}") == (204, None)
    assert node.health_calls == [
        (upstream["id"], row["id"], None, healthy),
        (upstream["id"], row["id"], "127.0.0.1:8000", healthy),
    ]
    node.health_refusal = "no address of h:8000 is 1.2.3.4:1"
    assert api.put(f"/upstreams/u.test/targets/h:8000/1.2.3.4:1/{word}") == (400, {"message": node.health_refusal})
    assert api.put(f"/upstreams/u.test/targets/x/{word}") == NOT_FOUND
    assert api.put(f"/upstreams/{NOWHERE}/targets/h/{word}") == NOT_FOUND
