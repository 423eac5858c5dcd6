"""Plugin configurations and consumers' credentials in their classic shape."""

import json
from pathlib import Path

import pytest

from kong_gevent.admin.classic import tables
from kong_gevent.admin.classic.plugins import classic_config, modern_config

TODAY = json.loads(Path("tests/plugins/data/schemas.json").read_text())
"""Today's settings of all bundled plugins."""


@pytest.fixture
def known(api):
    """An API `a` and a consumer `bob`, by name."""
    made = api.made("/apis", "request_path=/a&upstream_url=http://h&name=a")
    return {"a": made["id"], "bob": api.made("/consumers", "username=bob")["id"]}


def settings(row):
    """A configuration without what differs each time."""
    return {name: value for name, value in row.items() if name not in ("id", "created_at", "api_id")}


ACCEPTED = [
    ("name=key-auth&config.key_names=k1,k2", "key-auth", {"key_names": ["k1", "k2"], "hide_credentials": False}),
    ("name=keyauth&value.key_names= k1 , k2&config.hide_credentials=true", "key-auth", None),
    ("name=key-auth", "key-auth", {"key_names": ["apikey"], "hide_credentials": False}),
    ("name=ratelimiting&config.minute=5&config.hour=7", "rate-limiting", {"minute": 5, "hour": 7}),
    ("name=ip-restriction&config.whitelist=1.1.1.1,10.0.0.0/8", "ip-restriction",
     {"whitelist": ["1.1.1.1", "10.0.0.0/8"]}),
    ("name=ip_restriction&config.blacklist=1.1.1.1", "ip-restriction", {"blacklist": ["1.1.1.1"]}),
    ("name=requestsizelimiting", "request-size-limiting", {"allowed_payload_size": 128}),
    ("name=cors&config.origin=a.test&config.methods=GET,PUT&config.headers=&config.max_age=5", "cors",
     {"origin": "a.test", "methods": ["GET", "PUT"], "headers": [], "max_age": 5, "credentials": False,
      "preflight_continue": False}),
    ("name=tcplog&config.host=h&config.port=9", "tcp-log",
     {"host": "h", "port": 9, "timeout": 10000, "keepalive": 60000}),
    ("name=filelog&config.path=/tmp/x.log", "file-log", {"path": "/tmp/x.log"}),
    ("name=udp-log&config.host=h&config.port=9", "udp-log", {"host": "h", "port": 9, "timeout": 10000}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "name", "config"), ACCEPTED)
def test_what_is_accepted(api, known, form, name, config):
    made = api.made("/apis/a/plugins", form)
    assert made["name"] == name and made["api_id"] == known["a"] and made["enabled"] is True
    if config is not None:
        assert made["config"] == config
    assert api.get(f"/apis/a/plugins/{made['id']}") == api.get(f"/plugins/{made['id']}") == (200, made)
    assert api.get(f"/apis/a/plugins/{name}") == (200, made)
    assert api.put("/apis/a/plugins", made) == (200, made)


REFUSED = [
    ("", 400, {"name": "name is required"}),
    ("name=nope", 400, {"config": 'Plugin "nope" not found'}),
    ("name=mashape-analytics", 400, {"config": 'Plugin "mashape-analytics" not found'}),
    ("name=rate-limiting", 400,
     {"config": "You need to set at least one limit: second, minute, hour, day, month, year"}),
    ("name=rate-limiting&config.second=10&config.minute=5", 400,
     {"config": "The limit for minute cannot be lower than the limit for second"}),
    ("name=rate-limiting&config.second=x&config.minute=5", 400, {"config.second": "second is not a number"}),
    ("name=rate-limiting&config.second=0", 400, {"config.second": "value must be greater than 0"}),
    ("name=rate-limiting&config.policy=local&config.day=1", 400, {"config.policy": "policy is an unknown field"}),
    ("name=ip-restriction", 400, {"config": "You must set at least a whitelist or blacklist"}),
    ("name=ip-restriction&config.whitelist=1.1.1.1&config.blacklist=2.2.2.2", 400,
     {"config": "You cannot set both a whitelist and a blacklist"}),
    ("name=ip-restriction&config.whitelist=x", 400, {"config.whitelist": "invalid ip or cidr range: 'x'"}),
    ("name=tcp-log", 400, {"config.host": "host is required", "config.port": "port is required"}),
    ("name=tcp-log&config=1", 400, {"config": "config is not a table"}),
    ("name=key-auth&enabled=yes", 400, {"enabled": "enabled is not a boolean"}),
    ("name=key-auth&config.hide_credentials=x", 400,
     {"config.hide_credentials": "hide_credentials is not a boolean"}),
    ("name=key-auth&consumer_id={bob}", 400, {"message": "No consumer can be configured for that plugin"}),
    ("name=cors&consumer_id={bob}", 400, {"message": "No consumer can be configured for that plugin"}),
    ("name=rate-limiting&config.day=1&consumer_id={a}", 404, {"consumer_id": "consumer_id {a} does not exist"}),
    ("name=rate-limiting&config.day=1&consumer_id=x", 400, {"consumer_id": "consumer_id is not a id"}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "status", "errors"), REFUSED)
def test_what_is_refused(api, known, form, status, errors):
    expected = {name: text.replace("{a}", known["a"]) for name, text in errors.items()}
    assert api.post("/apis/a/plugins", form.format(**known)) == (status, expected)
    assert api.get("/plugins")[1] == {"data": []}


def test_an_enumeration(api, known):
    status, body = api.post("/apis/a/plugins", "name=cors&config.methods=GET,FOO")
    assert status == 400
    assert body["config.methods"].startswith('"FOO" is not allowed. Allowed values are: "GET", "HEAD"')


def test_plugins_need_an_api(api, known):
    service = api.today.make("/services", name="plain", host="h")
    assert api.post("/plugins", "name=key-auth") == (400, {"api_id": "api_id is required"})
    assert api.post("/plugins", f"name=key-auth&api_id={service['id']}") == (
        404, {"api_id": f"api_id {service['id']} does not exist"},
    )  # fmt: skip
    assert api.made("/plugins", f"name=key-auth&api_id={known['a']}")["api_id"] == known["a"]


def test_one_configuration_per_consumer(api, known):
    both = (409, {"message": "Plugin configuration already exists"})
    api.made("/apis/a/plugins", "name=rate-limiting&config.day=1")
    mine = api.made("/apis/a/plugins", f"name=rate-limiting&config.day=2&consumer_id={known['bob']}")
    assert mine["consumer_id"] == known["bob"]
    assert api.post("/apis/a/plugins", "name=ratelimiting&config.day=1") == both
    assert api.patch(f"/plugins/{mine['id']}", "consumer_id=") == both
    assert api.get(f"/plugins?consumer_id={known['bob']}")[1] == {"data": [mine]}
    assert len(api.get("/apis/a/plugins?name=rate-limiting")[1]["data"]) == 2


def test_changes(api, known):
    made = api.made("/apis/a/plugins", "name=rate-limiting&config.minute=5&config.hour=50")
    path = f"/apis/a/plugins/{made['id']}"
    assert api.patch(path, "config.day=60&enabled=false")[1] == {
        **made, "config": {"minute": 5, "hour": 50, "day": 60}, "enabled": False,
    }  # fmt: skip
    assert api.patch(path, "config.minute=")[1]["config"] == {"hour": 50, "day": 60}
    assert api.patch(path, "config.day=1") == (
        400, {"config": "The limit for day cannot be lower than the limit for hour"},
    )  # fmt: skip
    assert api.patch(path, "name=cors") == (400, {"name": "name cannot be updated"})
    assert api.patch(path, "name=ratelimiting&config.hour=49")[0] == 200
    status, replaced = api.put("/apis/a/plugins", f"id={made['id']}&name=rate-limiting&config.year=9")
    assert (status, replaced["config"], replaced["enabled"]) == (200, {"year": 9}, True)
    assert api.delete(path) == (204, None)
    assert api.delete(path) == (404, {"message": "Not found"})


def test_configurations_of_other_apis_are_not_found(api, known):
    api.made("/apis", "request_path=/b&upstream_url=http://h&name=b")
    made = api.made("/apis/a/plugins", "name=key-auth")
    nothing = (404, {"message": "Not found"})
    assert api.get(f"/apis/b/plugins/{made['id']}") == nothing
    assert api.get("/apis/b/plugins/key-auth") == nothing
    assert api.put("/apis/b/plugins", made) == nothing
    assert api.get("/apis/none/plugins") == nothing


def test_the_oldest_shape(api, known):
    made = api.made("/plugins_configurations", f"name=keyauth&value.key_names=k&api_id={known['a']}")
    assert settings(made) == {
        "name": "key-auth", "enabled": True, "value": {"key_names": ["k"], "hide_credentials": False},
    }  # fmt: skip
    assert api.get("/plugins_configurations/")[1] == {"data": [made]}
    assert api.post("/plugins_configurations", f"name=ratelimiting&value.second=x&api_id={known['a']}") == (
        400, {"value.second": "second is not a number"},
    )  # fmt: skip


def test_wider_and_narrower_scopes_are_not_shown(api, known):
    route = api.today.get("/routes")[1]["data"][0]
    api.today.make("/plugins", name="cors")
    api.today.make(f"/routes/{route['id']}/plugins", name="cors")
    api.today.make("/plugins", name="key-auth", service={"id": known["a"]}, config={"realm": "x"})
    [row] = api.get("/plugins")[1]["data"]
    assert row["config"] == {"key_names": ["apikey"], "hide_credentials": False}
    api.patch(f"/plugins/{row['id']}", "config.hide_credentials=true")
    stored = api.today.get(f"/plugins/{row['id']}")[1]["config"]
    assert (stored["realm"], stored["hide_credentials"]) == ("x", True)


def test_plugins_of_later_times_show_all_of_their_settings(api, known):
    made = api.made("/apis/a/plugins", "name=correlation-id&config.header_name=X-Id")
    assert made["config"]["header_name"] == "X-Id" and made["config"]["generator"] == "uuid#counter"


def test_consumers(api):
    made = api.made("/consumers", "username=bob&custom_id= 7 ")
    assert {name: made[name] for name in ("username", "custom_id")} == {"username": "bob", "custom_id": "7"}
    taken = {"username": "username already exists with value 'bob'"}
    assert api.post("/consumers", "username=bob") == (409, taken)
    text = "At least a 'custom_id' or a 'username' must be specified"
    for form in ("", "username=", "username= &custom_id="):
        assert api.post("/consumers", form) == (400, {"custom_id": text, "username": text})
    assert api.patch("/consumers/bob", "custom_id=&username=") == (400, {"custom_id": text, "username": text})
    assert "custom_id" not in api.patch("/consumers/bob", "custom_id=")[1]
    assert api.put("/consumers", f"id={made['id']}&custom_id=8")[1].keys() == {"id", "created_at", "custom_id"}
    assert api.get("/consumers?custom_id=8")[1]["data"][0]["id"] == made["id"]
    assert api.get("/consumers/unknown") == (404, {"message": "Not found"})
    assert api.delete(f"/consumers/{made['id']}") == (204, None)


def test_credentials(api, known):
    made = api.made("/consumers/bob/key-auth/")
    assert made.keys() == {"id", "consumer_id", "key", "created_at"}
    assert (made["consumer_id"], len(made["key"])) == (known["bob"], 32)
    path = f"/consumers/bob/keyauth/{made['id']}"
    assert api.get(path) == (200, made)
    assert api.post("/consumers/bob/keyauth", f"key={made['key']}") == (
        409, {"key": f"key already exists with value '{made['key']}'"},
    )  # fmt: skip
    assert api.patch(path, "key=k")[1] == {**made, "key": "k"}
    assert api.put("/consumers/bob/key-auth", f"id={made['id']}&key=l")[1] == {**made, "key": "l"}
    assert api.get("/consumers/bob/key-auth?key=l")[1] == {"data": [{**made, "key": "l"}]}
    assert api.get("/consumers/none/key-auth") == (404, {"message": "Not found"})
    assert api.get("/consumers/bob/key-auth/l") == (404, {"message": "Not found"})
    api.made("/consumers", "username=eve")
    assert api.get(f"/consumers/eve/key-auth/{made['id']}") == (404, {"message": "Not found"})
    assert api.post("/consumers/bob/key-auth", "foo=1") == (400, {"foo": "foo is an unknown field"})
    assert api.delete("/consumers/bob") == (204, None)
    assert api.today.get("/key-auths")[1]["data"] == []


def test_applications_have_one_redirect_uri(api, known):
    made = api.made("/consumers/bob/oauth2", "name=app&redirect_uri=https://c.test/cb?x=1")
    assert made.keys() == {"id", "created_at", "consumer_id", "name", "client_id", "client_secret", "redirect_uri"}
    assert made["redirect_uri"] == "https://c.test/cb?x=1"
    assert api.today.get(f"/oauth2/{made['id']}")[1]["redirect_uris"] == ["https://c.test/cb?x=1"]
    assert api.get("/oauth2/")[1] == {"data": [made]}
    assert api.post("/consumers/bob/oauth2", "redirect_uri=x") == (
        400, {"name": "name is required", "redirect_uri": "redirect_uri is not a url"},
    )  # fmt: skip


def test_defaults_that_have_changed_since(api, known):
    made = api.made("/apis/a/plugins", "name=oauth2&config.scopes=a,b&config.mandatory_scope=true")
    assert made["config"]["enable_authorization_code"] is True
    assert made["config"]["scopes"] == ["a", "b"]
    assert api.patch(f"/plugins/{made['id']}", "config.token_expiration=5")[1]["config"] == {
        **made["config"], "token_expiration": 5,
    }  # fmt: skip
    told = api.get("/plugins/schema/oauth2")[1]["fields"]
    assert told["enable_authorization_code"]["default"] is True
    assert "required" not in told["provision_key"]


def names_of(config, above=""):
    """Dotted names of settings in the form of the `/schemas` document."""
    for entry in config:
        for name, field in entry.items():
            yield above + name
            if "fields" in field:
                yield from names_of(field["fields"], f"{above}{name}.")


@pytest.mark.parametrize("plugin", tables.SHAPES)
def test_every_setting_exists_today(plugin):
    names = set(names_of(TODAY[plugin]["config"]))
    assert set(tables.SHAPES[plugin].fields.values()) <= names


SHAPES = [
    ("acl", {"whitelist": ["a"]}, {"allow": ["a"]}),
    ("request-transformer", {"add": {"headers": ["a:b"], "form": ["c:d"]}, "remove": {"querystring": ["e"]}},
     {"add": {"headers": ["a:b"], "body": ["c:d"]}, "remove": {"querystring": ["e"]}}),
    ("response-transformer", {"remove": {"json": ["a"]}}, {"remove": {"json": ["a"]}}),
    ("response-ratelimiting", {"limits": {"sms": {"minute": 5}}}, {"limits": {"sms": {"minute": 5}}}),
    ("jwt", {"uri_param_names": ["t"]}, {"uri_param_names": ["t"]}),
    ("cors", {"origin": "a"}, {"origins": ["a"]}),
    ("unknown-here", {"a": {"b": 1}}, {"a": {"b": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "old", "new"), SHAPES)
def test_shapes_of_settings(plugin, old, new):
    assert modern_config(plugin, old) == new
    assert classic_config(plugin, new) == old
