"""The audit log: what is recorded of a write, what is masked, how records are found."""

import json

import pytest

from kong_gevent.admin import LocalNode, create_app
from kong_gevent.conf import load
from kong_gevent.db import audit
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable
from tests.pem import certificate, private_key
from tests.unit.admin.api import Api
from tests.unit.admin.world import SEEDS, World


@pytest.fixture
def log(api):
    """Read the log once everything is stored."""

    def read(query=""):
        api.app.recorder.log.flush()
        status, page = api.get("/audit/requests" + query)
        assert status == 200, page
        return page["data"]

    return read


def test_a_write_is_recorded_with_who_what_and_both_states(api, log):
    made = api.make("/services", name="s", host="h")
    api.patch("/services/s", {"retries": 1})
    api.delete("/services/s")
    deleted, changed, created = log()
    assert (created["method"], created["path"], created["status"]) == ("POST", "/services", 201)
    assert (created["who"], created["who_kind"], created["client_ip"]) == ("127.0.0.1", "address", "127.0.0.1")
    assert created["node_id"] == api.node.node_id
    [change] = created["changes"]
    assert (change["entity"], change["id"], change["before"]) == ("services", made["id"], None)
    assert change["after"]["host"] == "h"
    assert [changed["changes"][0][state]["retries"] for state in ("before", "after")] == [5, 1]
    assert (deleted["status"], deleted["changes"][0]["after"]) == (204, None)
    assert deleted["changes"][0]["before"]["retries"] == 1
    assert created["ttl"] == 30 * 86400
    assert api.get(f"/audit/requests/{created['id']}") == (200, created)


def test_neither_reads_nor_refusals_nor_questions_are_recorded(api, log):
    api.get("/services")
    api.post("/services", {})
    api.post("/schemas/services/validate", {"host": "h"})
    api.delete("/none")
    assert log() == []


def test_what_goes_along_is_named(api, log):
    api.make("/consumers", username="u")
    api.make("/consumers/u/plugins", name="limits", config={"minute": 1})
    api.delete("/consumers/u")
    assert {change["entity"] for change in log()[0]["changes"]} == {"consumers", "plugins"}


def test_both_states_of_what_goes_along(api, log):
    api.make("/consumers", username="u")
    api.make("/consumers/u/plugins", name="limits", config={"minute": 1})
    api.delete("/consumers/u")
    assert all(change["before"] and change["after"] is None for change in log()[0]["changes"])


def test_documents_name_what_they_change(api, log):
    api.make("/services", name="s", host="h")
    document = {"_format_version": "3.0", "services": [{"name": "s", "host": "i"}], "consumers": [{"username": "u"}]}
    assert api.post("/config", document)[0] < 300
    changes = {change["entity"]: change for change in log()[0]["changes"]}
    assert (changes["services"]["before"]["host"], changes["services"]["after"]["host"]) == ("h", "i")
    assert (changes["consumers"]["before"], changes["consumers"]["after"]["username"]) == (None, "u")
    assert api.post("/config/rollback", {})[0] < 300
    assert {change["entity"] for change in log()[0]["changes"]} == {"services", "consumers"}


def test_of_very_many_changes_the_first_are_named(api, log):
    consumers = [{"username": f"u{at}"} for at in range(150)]
    assert api.post("/config", {"_format_version": "3.0", "consumers": consumers})[0] < 300
    changes = log()[0]["changes"]
    assert len(changes) == 100 and all(change["too_large"] and change["id"] for change in changes)


def test_secrets_are_masked_and_references_are_not(api, log):
    api.make("/admin-tokens", name="ops")
    api.make("/keys", name="k", kid="1", jwk="{vault://env/jwk}")
    key, token = log()
    assert token["changes"][0]["after"]["digest"] == "******"
    assert key["changes"][0]["after"]["jwk"] == "{vault://env/jwk}"


def test_who_by_token_and_by_certificate(api, log):
    token = api.make("/admin-tokens", name="ops")["token"]
    api.post("/services", {"host": "h"}, headers={"Authorization": f"Bearer {token}"})
    api.post("/services", {"host": "h"}, environ_base={"SSL_CLIENT_S_DN": "CN=jane,O=Example"})
    by_certificate, by_token, _ = log()
    assert (by_token["who"], by_token["who_kind"]) == ("ops", "token")
    assert (by_certificate["who"], by_certificate["who_kind"]) == ("CN=jane,O=Example", "certificate")


def test_switches_are_recorded_too(api, log):
    api.put("/debug/node/log-level/debug")
    assert (log()[0]["path"], log()[0]["changes"]) == ("/debug/node/log-level/debug", [])


def test_pages_and_filters(api, log):
    for number in range(7):
        api.make("/services", name=f"s{number}", host="h")
    api.make("/consumers", username="u")
    api.put("/services/s0", {"host": "other"})
    rows = log("?size=1000")
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert len(rows) == 9
    assert [row["id"] for row in api.all("/audit/requests", size=2)] == [row["id"] for row in rows]
    assert [row["path"] for row in log("?method=PUT")] == ["/services/s0"]
    assert len(log("?entity=consumers")) == 1
    assert len(log(f"?entity_id={rows[0]['changes'][0]['id']}")) == 2
    assert len(log("?status=201&method=POST&path=/services")) == 7
    assert log("?who=nobody") == []
    assert len(log("?after=1&before=99999999999")) == 9
    assert log(f"?after={rows[0]['at'] + 1}") == []
    assert log("?before=1000") == []
    page = api.get("/audit/requests?method=POST&size=3")[1]
    found = [*page["data"]]
    while page["next"]:
        page = api.get(page["next"])[1]
        found += page["data"]
    assert len(found) == 8


@pytest.mark.parametrize(
    "query", ["?size=0", "?size=x", "?offset=x", "?after=x", "?before=-1", "?after=", "?before=nan"]
)
def test_bad_questions(api, query):
    assert api.get("/audit/requests" + query)[0] == 400


def test_records_that_are_not_there(api):
    assert api.get("/audit/requests/x")[0] == 404
    assert api.get("/audit/requests/11111111-1111-4111-8111-111111111111")[0] == 404
    assert api.delete("/audit/requests/11111111-1111-4111-8111-111111111111")[0] == 405


def test_a_record_whose_outcome_was_unknown_is_stored_once_and_holds_up_no_other(api, log, monkeypatch):
    commit, lost = api.node.store.strategy.commit, []

    def losing(operations, *rest):
        commit(operations, *rest)
        if operations[0].kind == audit.KIND and not lost:
            lost.append(operations)
            api.make("/services", name="meanwhile", host="h")
            raise OutcomeUnknown("the connection broke")

    monkeypatch.setattr(audit, "RETRY_SECONDS", 0)
    monkeypatch.setattr(api.node.store.strategy, "commit", losing)
    api.make("/services", name="s", host="h")
    found = log()
    assert len(lost) == 1
    assert [row["changes"][0]["after"]["name"] for row in found] == ["meanwhile", "s"]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("out of threads")])
def test_a_store_that_fails_in_any_way_is_tried_again(api, log, monkeypatch, error):
    commit, failures = api.node.store.strategy.commit, [error]

    def failing(operations, *rest):
        if operations[0].kind == audit.KIND and failures:
            raise failures.pop()
        commit(operations, *rest)

    monkeypatch.setattr(audit, "RETRY_SECONDS", 0)
    monkeypatch.setattr(api.node.store.strategy, "commit", failing)
    api.make("/services", name="s", host="h")
    assert [row["changes"][0]["after"]["name"] for row in log()] == ["s"]
    assert not failures


def test_it_may_be_off(node, tmp_path):
    settings = load(overrides={"database": "memory", "prefix": str(tmp_path), "audit_log": "off"}, environ={})
    silent = LocalNode(settings, node.store, node.plugins)
    api = Api(create_app(silent), silent)
    api.make("/services", host="h")
    assert api.app.recorder.log is None
    assert api.all("/audit/requests") == []


def test_a_store_that_is_away_delays_records_and_nothing_else(api, monkeypatch):
    from kong_gevent.db import audit
    from kong_gevent.errors import StoreUnavailable

    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.01)
    strategy, failures = api.node.store.strategy, [1, 2]
    commit = strategy.commit

    def unreliable(operations, changes, origin=""):
        if operations[0].kind == "audit_requests" and failures:
            failures.pop()
            raise StoreUnavailable("away")
        return commit(operations, changes, origin)

    monkeypatch.setattr(strategy, "commit", unreliable)
    api.make("/services", host="h")
    api.app.recorder.log.flush()
    assert failures == []
    assert len(api.all("/audit/requests")) == 1


def test_huge_changes_are_only_named(api, log):
    api.make("/services", host="h", tags=[f"{number}" * 50 for number in range(1000, 1900)])
    assert log()[0]["changes"] == [{"entity": "services", "id": api.all("/services")[0]["id"], "too_large": True}]


def test_keys_in_paths_are_masked(tmp_path):
    world = World(str(tmp_path))
    api = world.api
    consumer = api.make("/consumers", username="who")["id"]
    made = api.make("/consumers/who/key-auth", key="hush/hush")
    asked = {
        ("PATCH", "/consumers/who/key-auth/hush%2Fhush"): "/consumers/who/key-auth/******",
        ("PATCH", "/default/key-auths/hush%2Fhush/"): "/default/key-auths/******",
        ("PATCH", f"/consumers/{consumer}/key-auth/{made['id']}"): f"/consumers/{consumer}/key-auth/{made['id']}",
        ("PUT", "/key-auths/hush%2Fhush/consumer"): "/key-auths/******/consumer",
        ("DELETE", "/cache/keyauth_credentials:hush:::::"): "/cache/******",
        ("DELETE", "/key-auths/hush%2Fhush"): "/key-auths/******",
    }
    for method, path in asked:
        status, answer = api.call(
            method,
            path,
            None
            if method == "DELETE"
            else {"tags": ["a"], "username": "who"}
            if "consumer" in path.rpartition("/")[2]
            else {"tags": ["a"]},
        )
        assert status in (200, 204), (path, answer)
    api.app.recorder.log.flush()
    records = api.all("/audit/requests")[: len(asked)]
    assert [row["path"] for row in reversed(records)] == list(asked.values())
    assert "hush" not in json.dumps(records)
    world.store.close()


def test_change_sets_tell_no_secrets_and_who_made_them(tmp_path):
    world = World(str(tmp_path))
    api = world.api
    token = api.make("/admin-tokens", name="ops")["token"]

    def document(secret):
        consumer = {"username": "who", "keyauth_credentials": [{"key": f"{secret}-key"}]}
        consumer["hmacauth_credentials"] = [{"username": "h", "secret": secret}]
        return {"_format_version": "3.0", "consumers": [consumer]}

    told = []
    for secret in ("hush1", "hush2"):
        for query in ("?dry_run=1", ""):
            answer = api.client.post(
                f"/config{query}", json=document(secret), headers={"Authorization": f"Bearer {token}"}
            )
            assert answer.status_code in (200, 201), answer.json
            told.append(answer.json)
    [changed] = [change for change in told[-1]["changes"] if change["op"] == "update"]
    assert (changed["name"], changed["fields"]) == ("h", {"secret": ["******", "******"]})
    history = api.get("/config/history")[1]["data"]
    told += [api.get(f"/config/history/{entry['id']}")[1] for entry in history]
    assert "hush" not in json.dumps(told)
    assert {entry["author"] for entry in history} == {"ops"}
    world.store.close()


CLASSIC = [
    ("POST", "/classic/apis", {"name": "old", "request_host": "old.test", "upstream_url": "http://h"}),
    ("PATCH", "/classic/apis/old", {"preserve_host": True}),
    ("POST", "/classic/apis/old/plugins", {"name": "ssl", "config": {"cert": certificate(), "key": private_key()}}),
    ("PATCH", "/classic/apis/old/plugins/ssl", {"config": {"only_https": True}}),
    ("DELETE", "/classic/apis/old/plugins/ssl", None),
    ("POST", "/classic/consumers", {"username": "old"}),
    ("POST", "/classic/consumers/old/key-auth", {"key": "own secret"}),
    ("DELETE", "/classic/consumers/old", None),
    ("DELETE", "/classic/apis/old", None),
]
OWN = {
    "keyauth_credentials": {"key": "own secret"},
    "hmacauth_credentials": {"secret": "own secret"},
    "jwt_secrets": {"secret": "own secret"},
    "basicauth_credentials": {"password": "own secret"},
    "oauth2_credentials": {"client_secret": "own secret", "hash_secret": False},
}
"""Secrets that clients choose, by kind of entity."""


def test_every_kind_of_write_leaves_a_record_without_secrets(tmp_path):
    """Each entity made, replaced, changed and removed, and each classic object; whole documents as well."""
    world = World(str(tmp_path))
    api = world.api
    asked = []
    for name in reversed(SEEDS):  # children before their parents
        below, given = SEEDS[name]
        path = f"{below}/{world.ids[name]}"
        body = {**given, **OWN.get(name, {})}
        asked += [("PATCH", path, body), ("PUT", path, body), ("DELETE", path, None)]
    asked += CLASSIC
    asked.append(("POST", "/config", {"_format_version": "3.0", "consumers": [{"username": "document"}]}))
    for method, path, body in asked:
        status, answer = api.call(method, path, body)
        assert status in (200, 201, 204), (method, path, answer)
    api.app.recorder.log.flush()
    records = api.all("/audit/requests")[: len(asked)]
    paths = [(method, path.replace("/cid/", "/******/")) for method, path, _ in asked]
    assert [(row["method"], row["path"]) for row in reversed(records)] == paths
    missing = [
        row["path"] for row in records if not (row["who"] and row["client_ip"] and row["node_id"] and row["changes"])
    ]
    assert missing == []
    for row in records:
        states = {"POST": (False, True), "PUT": (True, True), "PATCH": (True, True), "DELETE": (True, False)}
        change = next((each for each in row["changes"] if each["id"] in row["path"]), row["changes"][0])
        if row["path"].startswith("/classic") and row["method"] != "POST":
            assert all(each["before"] for each in row["changes"] if each["entity"] in ("services", "certificates"))
        else:
            assert (change["before"] is not None, change["after"] is not None) == states[row["method"]], row
    told = json.dumps(records)
    assert "own secret" not in told and "PRIVATE KEY" not in told
    world.store.close()
