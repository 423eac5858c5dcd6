"""Tokens of the Admin API: who gets in, who may only read, what is shown, how long they last."""

import time

import pytest

from kong_gevent.admin import LocalNode, create_app, create_status_app
from kong_gevent.conf import load
from kong_gevent.db import tokens
from tests.unit.admin.api import Api


@pytest.fixture(params=["memory"])
def database(request):
    return request.param


@pytest.fixture
def locked(node, tmp_path):
    """The Admin API of the node with `admin_auth = token` and a token in the settings."""
    settings = load(
        overrides={"database": "memory", "prefix": str(tmp_path), "admin_auth": "token", "admin_token": "{vault://env/TOKEN}"},
        environ={"TOKEN": "settings-token-0123456789"},
    )  # fmt: skip
    guarded = LocalNode(settings, node.store, node.plugins)
    return Api(create_app(guarded), guarded)


def with_token(api, token, method="GET", path="/services", header="Authorization", body=None):
    value = f"Bearer {token}" if header == "Authorization" else token
    return api.call(method, path, body, headers={header: value})


def test_nobody_gets_in_without_a_token(locked):
    for method, path in (("GET", "/"), ("GET", "/status"), ("POST", "/services"), ("GET", "/none"), ("HEAD", "/")):
        answer = locked.client.open(path, method=method)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="kong-admin"'
        assert answer.data == b"" if method == "HEAD" else answer.json == {"message": "Unauthorized"}
    assert locked.call("OPTIONS", "/services")[0] == 204


@pytest.mark.parametrize("token", ["", "x", "kga_" + "x" * 43, "é", "x" * 10_000, "settings-token-012345678"])
def test_unknown_tokens(locked, token):
    assert with_token(locked, token)[0] == 401
    assert with_token(locked, token, header="Kong-Admin-Token")[0] == 401


def test_other_schemes_are_no_tokens(locked):
    assert locked.call("GET", "/", headers={"Authorization": "Basic c2V0dGluZ3M6"})[0] == 401


@pytest.mark.parametrize("header", ["Authorization", "Kong-Admin-Token"])
def test_the_token_of_the_settings(locked, header):
    assert with_token(locked, "settings-token-0123456789", header=header)[0] == 200
    shown = with_token(locked, "settings-token-0123456789", path="/")[1]
    assert shown["configuration"]["admin_token"] == "******"


def test_tokens_of_the_store(api, locked):
    status, made = api.post("/admin-tokens", {"name": "ops"})
    assert status == 201
    assert made["token"].startswith("kga_")
    assert len(made["token"]) == 47
    assert with_token(locked, made["token"])[0] == 200
    assert with_token(locked, made["token"], "POST", body={"host": "h"})[0] == 201
    assert api.delete("/admin-tokens/ops")[0] == 204
    assert with_token(locked, made["token"])[0] == 401


def test_neither_token_nor_digest_is_shown_again(api, node):
    made = api.make("/admin-tokens", name="ops")
    for shown in (
        api.get("/admin-tokens/ops")[1],
        api.get(f"/admin-tokens/{made['id']}")[1],
        api.all("/admin-tokens")[0],
    ):
        assert set(shown) == {"id", "created_at", "name", "read_only", "expires_at"}
    assert tokens.digest_of(made["token"]) == node.store.dao("admin_tokens").select(made["id"])["digest"]
    assert made["token"] not in str(node.store.dao("admin_tokens").select(made["id"]))


def test_read_only_tokens(api, locked):
    token = api.make("/admin-tokens", name="look", read_only=True)["token"]
    assert with_token(locked, token)[0] == 200
    assert with_token(locked, token, "POST", "/schemas/services/validate", body={"host": "h"})[0] == 200
    assert with_token(locked, token, "POST", "/default/schemas/services/validate", body={"host": "h"})[0] == 200
    assert with_token(locked, token, "POST", "/defaultschemas/services/validate", body={"host": "h"})[0] == 403
    question = {"url": "http://a/"}
    told = {"message": "This node does not serve requests"}
    assert with_token(locked, token, "POST", "/debug/explain", body=question) == (501, told)
    assert with_token(locked, token, "GET", "/debug/explain?url=http://a/") == (501, told)
    assert with_token(locked, None, "POST", "/debug/explain", body=question)[0] == 401
    for method, path in (("POST", "/services"), ("PUT", "/services/a"), ("PATCH", "/services/a"), ("DELETE", "/cache"),
                         ("POST", "/admin-tokens"), ("PUT", "/debug/node/log-level/debug")):  # fmt: skip
        assert with_token(locked, token, method, path) == (403, {"message": "This token may only read"})
    assert api.all("/services") == []


def test_tokens_end(api, locked, node):
    token = api.make("/admin-tokens", name="short", ttl=1000)["token"]
    row = api.get("/admin-tokens/short")[1]
    assert 990 < row["expires_at"] - time.time() <= 1000
    assert with_token(locked, token)[0] == 200
    node.store.dao("admin_tokens").update(row["id"], {"expires_at": int(time.time()) - 1})
    assert with_token(locked, token)[0] == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name": "required field missing"}),
        ({"name": "a", "digest": "0" * 64}, {"digest": "made by the gateway"}),
        ({"name": "a", "read_only": "yes"}, {"read_only": "expected a boolean"}),
        ({"name": "a", "expires_at": 0}, {"expires_at": "value must be greater than 0"}),
        ({"name": "a", "ttl": "soon"}, {"ttl": "expected a number"}),
        ({"name": "a", "ttl": -1}, {"ttl": "value should be between 0 and 100000000"}),
        ({"name": "a", "token": "mine"}, {"token": "unknown field"}),
    ],
)
def test_what_is_no_token(api, body, fields):
    status, answer = api.post("/admin-tokens", body)
    assert (status, answer["fields"]) == (400, fields)
    assert api.all("/admin-tokens") == []


def test_names_are_unique(api):
    api.make("/admin-tokens", name="ops")
    assert api.post("/admin-tokens", {"name": "ops"})[0] == 409


def test_tokens_are_not_changed(api):
    api.make("/admin-tokens", name="ops")
    assert api.patch("/admin-tokens/ops", {"read_only": True})[0] == 405


def test_the_status_listener_stays_open(locked):
    client = create_status_app(locked.node).test_client()
    assert client.get("/status/ready").status_code == 200
    assert client.get("/status").status_code == 200


def test_a_store_that_is_away_lets_nobody_in(locked, monkeypatch):
    from kong_gevent.errors import StoreUnavailable

    def away(*_):
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(locked.node, "lookup", away)
    assert with_token(locked, "kga_" + "x" * 43)[0] == 503
    assert with_token(locked, "settings-token-0123456789", path="/endpoints")[0] == 200
