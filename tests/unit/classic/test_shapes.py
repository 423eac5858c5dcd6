"""Every plugin and every credential of 2015 in its classic shape: fields, defaults, verbs."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from kong_gevent.admin.classic import tables
from tests.unit.classic.conftest import Classic

NOT_FOUND = (404, {"message": "Not found"})
LEAST: Mapping[str, tuple[str, dict[str, Any]]] = {
    "acl": ("config.whitelist=a,b", {"whitelist": ["a", "b"]}),
    "basic-auth": ("", {"hide_credentials": False}),
    "cors": ("", {"methods": ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"], "credentials": False,
                  "preflight_continue": False}),
    "file-log": ("config.path=/tmp/x", {"path": "/tmp/x"}),
    "hmac-auth": ("", {"hide_credentials": False, "clock_skew": 300}),
    "http-log": ("config.http_endpoint=http://h/x",
                 {"http_endpoint": "http://h/x", "method": "POST", "timeout": 10000, "keepalive": 60000}),
    "ip-restriction": ("config.blacklist=1.1.1.1", {"blacklist": ["1.1.1.1"]}),
    "jwt": ("", {"uri_param_names": ["jwt"]}),
    "key-auth": ("", {"key_names": ["apikey"], "hide_credentials": False}),
    "oauth2": ("config.provision_key=p",
               {"provision_key": "p", "mandatory_scope": False, "token_expiration": 7200, "hide_credentials": False,
                "enable_authorization_code": True, "enable_implicit_grant": False,
                "enable_client_credentials": False, "enable_password_grant": False}),
    "rate-limiting": ("config.second=1", {"second": 1}),
    "request-size-limiting": ("", {"allowed_payload_size": 128}),
    "request-transformer": ("config.add.headers=a:b,c:d&config.remove.form=e&config.add.querystring=f:g",
                            {"add": {"headers": ["a:b", "c:d"], "querystring": ["f:g"]}, "remove": {"form": ["e"]}}),
    "response-ratelimiting": ("config.limits.sms.minute=5",
                              {"header_name": "x-kong-limit", "limits": {"sms": {"minute": 5}}}),
    "response-transformer": ("config.add.json=a:b&config.remove.headers=c",
                             {"add": {"json": ["a:b"]}, "remove": {"headers": ["c"]}}),
    "tcp-log": ("config.host=h&config.port=1", {"host": "h", "port": 1, "timeout": 10000, "keepalive": 60000}),
    "udp-log": ("config.host=h&config.port=1", {"host": "h", "port": 1, "timeout": 10000}),
}  # fmt: skip
"""What has to be said of a plugin, and the settings that this gives."""
NO_CONSUMER = set("acl basic-auth cors hmac-auth jwt key-auth oauth2".split())


@pytest.fixture
def known(api: Classic) -> Classic:
    """With an API `a` and a consumer `bob`."""
    api.made("/apis", "name=a&request_path=/a&upstream_url=http://h")
    api.made("/consumers", "username=bob")
    return api


def test_the_table_has_every_plugin() -> None:
    assert set(LEAST) == set(tables.SHAPES)


@pytest.mark.parametrize("plugin", LEAST)
def test_plugins(known: Classic, plugin: str) -> None:
    form, config = LEAST[plugin]
    made = known.made("/apis/a/plugins", f"name={plugin}&{form}")
    assert (made["name"], made["config"], made["enabled"]) == (plugin, config, True)
    assert known.put("/plugins", made) == (200, made)
    assert known.patch(f"/plugins/{made['id']}", "enabled=false") == (200, {**made, "enabled": False})
    assert known.post("/apis/a/plugins", f"name={plugin}&{form}")[0] == 409
    assert known.get("/plugins")[1] == {"data": [{**made, "enabled": False}]}
    assert known.get(f"/plugins_configurations/{made['id']}")[1]["value"] == config
    assert known.delete(f"/plugins/{made['id']}") == (204, None)
    assert known.get(f"/plugins/{made['id']}") == NOT_FOUND


@pytest.mark.parametrize("plugin", LEAST)
def test_plugins_for_a_consumer(known: Classic, plugin: str) -> None:
    bob = known.get("/consumers/bob")[1]["id"]
    status, body = known.post("/apis/a/plugins", f"name={plugin}&{LEAST[plugin][0]}&consumer_id={bob}")
    told = known.get(f"/plugins/schema/{plugin}")[1]
    if plugin in NO_CONSUMER:
        assert (status, body) == (400, {"message": "No consumer can be configured for that plugin"})
        assert told["no_consumer"] is True
    else:
        assert (status, body["consumer_id"]) == (201, bob)
        assert "no_consumer" not in told


@pytest.mark.parametrize("plugin", LEAST)
def test_what_is_told_of_plugins(known: Classic, plugin: str) -> None:
    """Defaults that are told are those that are applied."""
    fields = known.get(f"/plugins/schema/{plugin}")[1]["fields"]
    config = known.made("/apis/a/plugins", f"name={plugin}&{LEAST[plugin][0]}")["config"]
    sent = {name.split(".")[1] for name in re.findall(r"config\.[^=]+", LEAST[plugin][0])}
    told = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert {name: value for name, value in config.items() if name not in sent} == {
        name: value for name, value in told.items() if name not in sent
    }
    assert {name.split(".")[0] for name in tables.SHAPES[plugin].fields} == set(fields)


ARRAYS = {
    "commas": "config.key_names=a, b",
    "repeated": "config.key_names=a&config.key_names=b",
    "brackets": "config.key_names[]=a&config.key_names[]=b",
    "json": {"name": "key-auth", "config": {"key_names": ["a", "b"]}},
    "text in json": {"name": "key-auth", "config": {"key_names": "a,b"}},
}


@pytest.mark.parametrize("body", ARRAYS.values(), ids=ARRAYS)
def test_arrays(known: Classic, body: Any) -> None:
    body = f"name=key-auth&{body}" if isinstance(body, str) else body
    status, made = known.post("/apis/a/plugins", body)
    assert (status, made["config"]["key_names"]) == (201, ["a", "b"])


CREDENTIALS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "key-auth": ("", {"key": r"[0-9A-Za-z]{32}"}, "key=k"),
    "basic-auth": ("username=u&password=p", {"username": "u", "password": r"[0-9a-f]{40}"}, "username=v"),
    "hmac-auth": ("username=u", {"username": "u", "secret": r"[0-9A-Za-z]{32}"}, "secret=s"),
    "jwt": ("", {"key": r"[0-9A-Za-z]{32}", "secret": r"[0-9A-Za-z]{32}"}, "key=k"),
    "oauth2": ("name=n&redirect_uri=http://c/", {"name": "n", "client_id": r"[0-9A-Za-z]{32}",
                                                 "client_secret": r"[0-9A-Za-z]{32}", "redirect_uri": "http://c/"},
               "redirect_uri=http://d/"),
    "acls": ("group=g", {"group": "g"}, "group=h"),
}  # fmt: skip
"""Last part of the path → what is sent, patterns of what is answered, and a change."""


def test_the_table_has_every_credential() -> None:
    assert set(CREDENTIALS) == set(tables.CREDENTIALS)


@pytest.mark.parametrize("nested", [*CREDENTIALS, *tables.OLD_PATHS.values()])
def test_credentials(known: Classic, nested: str) -> None:
    form, shown, change = CREDENTIALS[{old: new for new, old in tables.OLD_PATHS.items()}.get(nested, nested)]
    path, bob = f"/consumers/bob/{nested}", known.get("/consumers/bob")[1]["id"]
    made = known.made(path, form)
    assert set(made) == {"id", "created_at", "consumer_id", *shown} and made["consumer_id"] == bob
    assert all(re.fullmatch(pattern, made[name]) for name, pattern in shown.items()), made
    assert isinstance(made["created_at"], int) and made["created_at"] > 1_400_000_000_000
    one = f"{path}/{made['id']}"
    assert known.get(one) == known.get(one + "/") == (200, made)
    assert known.get(path) == (200, {"data": [made]})
    name, _, value = change.partition("=")
    status, changed = known.patch(one, change)
    if nested == "jwt":
        assert (status, changed) == (405, {"message": "Method not allowed"})
    else:
        assert (status, changed) == (200, {**made, name: value})
    status, put = known.put(path, f"id={made['id']}&{form or change}")
    assert (status, put["id"], put["consumer_id"]) == (200, made["id"], bob)
    known.made("/consumers", "username=eve")
    assert known.get(f"/consumers/eve/{nested}/{made['id']}") == NOT_FOUND
    assert known.get(f"/consumers/none/{nested}") == known.post(f"/consumers/none/{nested}", form) == NOT_FOUND
    assert known.delete(one) == (204, None)
    assert known.get(one) == known.delete(one) == NOT_FOUND


def test_passwords_are_hashed_with_their_consumer(known: Classic) -> None:
    made = known.made("/consumers/bob/basic-auth", "username=u&password=p")
    changed = known.patch(f"/consumers/bob/basic-auth/{made['id']}", "password=q")[1]
    assert re.fullmatch("[0-9a-f]{40}", changed["password"]) and changed["password"] != made["password"]
    again = known.patch(f"/consumers/bob/basic-auth/{made['id']}", "password=p")[1]
    assert again == made


def test_what_looks_like_an_id_is_one(known: Classic) -> None:
    """Lower-case hexadecimal digits, that is; anything else is a name."""
    text = "11111111-1111-4111-8111-11111111111a"
    known.made("/consumers", f"username={text}")
    known.made("/consumers", f"username={text.upper()}")
    assert known.get(f"/consumers/{text}") == NOT_FOUND
    assert known.get(f"/consumers/{text.upper()}")[1]["username"] == text.upper()
