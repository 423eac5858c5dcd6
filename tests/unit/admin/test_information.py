"""What the node tells about itself, its schemas and its switches; and methods and paths as tables."""

import re

import pytest

from kong_gevent.admin import create_status_app

NO_WASM = (400, {"message": "this endpoint is only available when wasm is enabled"})


@pytest.fixture
def database():
    """Nothing here depends on the store."""
    return "memory"


# -- /


def test_root(api):
    api.make("/plugins", name="key-auth")
    service = api.make("/services", host="h")
    api.make(f"/services/{service['id']}/plugins", name="key-auth")
    status, body = api.get("/")
    assert status == 200
    assert body["tagline"] == "Welcome to kong"
    assert re.fullmatch(r"3\.\d+\.\d+", body["version"])
    assert body["edition"] == "community"
    assert body["node_id"] == api.node.node_id
    assert body["hostname"] == api.node.hostname
    assert isinstance(body["lua_version"], str)
    assert body["timers"] == {"running": 0, "pending": 0}
    assert body["plugins"] == {
        "available_on_server": {
            "key-auth": {"version": "3.9.1", "priority": 1000},
            "limits": {"version": "3.9.1", "priority": 1001},
        },
        "enabled_in_cluster": ["key-auth"],
    }
    assert set(body["pids"]) == {"master", "workers"}


def test_root_configuration(api):
    api.node.log_level = "debug"
    configuration = api.get("/")[1]["configuration"]
    assert configuration["database"] == "memory"
    assert configuration["log_level"] == "debug"
    assert configuration["loaded_plugins"] == {"key-auth": True, "limits": True}
    assert configuration["router_flavor"] == "traditional_compatible"
    assert configuration["role"] == "traditional"
    assert configuration["prefix"] == api.node.settings.prefix
    assert isinstance(configuration["admin_listen"], list)
    for name in ("admin_listeners", "proxy_listeners", "admin_gui_listeners"):
        assert isinstance(configuration[name], list)
    shown = [(each["ip"], each["port"], each["ssl"]) for each in configuration["admin_listeners"]]
    assert shown == [("127.0.0.1", 8001, False), ("127.0.0.1", 8444, True)]


def test_root_without_plugins(api):
    assert api.get("/")[1]["plugins"]["enabled_in_cluster"] == []


# -- /endpoints

ENTITY_PATHS = """
/services /services/{services} /routes /routes/{routes} /routes/{routes}/service
/services/{services}/routes /services/{services}/routes/{routes}
/consumers /consumers/{consumers} /plugins /plugins/{plugins}
/plugins/{plugins}/route /routes/{routes}/plugins /routes/{routes}/plugins/{plugins}
/plugins/{plugins}/service /services/{services}/plugins /services/{services}/plugins/{plugins}
/plugins/{plugins}/consumer /consumers/{consumers}/plugins /consumers/{consumers}/plugins/{plugins}
/key-auths /key-auths/{keyauth_credentials} /key-auths/{keyauth_credentials}/consumer
/consumers/{consumers}/key-auth /consumers/{consumers}/key-auth/{keyauth_credentials}
/tags /tags/{tags} /filter-chains /filter-chains/{filter_chains}
/ /status /status/dns /timers /endpoints /cache /cache/{key} /config /plugins/enabled /plugins/schema/{name}
/schemas/{name} /schemas/{db_entity_name}/validate /schemas/plugins/{name} /schemas/plugins/validate
/schemas/vaults/{name} /schemas/vaults/validate /schemas/filters/{name}
/debug/node/log-level /debug/node/log-level/{log_level} /debug/cluster/log-level/{log_level}
/clustering/data-planes /clustering/status
/routes/{routes}/filters/all /routes/{routes}/filters/enabled /routes/{routes}/filters/disabled
""".split()


def test_endpoints(api):
    status, body = api.get("/endpoints")
    assert status == 200
    assert set(ENTITY_PATHS) <= set(body["data"])
    assert len(set(body["data"])) == len(body["data"])


def test_endpoints_are_ordered_by_segments(api):
    found = api.get("/endpoints")[1]["data"]
    assert found == sorted(found, key=lambda path: path.split("/"))
    assert found[0] == "/"


METHODS = {
    "/": "GET, HEAD, OPTIONS",
    "/services": "GET, HEAD, OPTIONS, POST",
    "/services/x": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/services/x/routes": "GET, HEAD, OPTIONS, POST",
    "/services/x/routes/y": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/routes/x/service": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/consumers/x/key-auth": "GET, HEAD, OPTIONS, POST",
    "/schemas/services": "GET, HEAD, OPTIONS",
    "/schemas/services/validate": "OPTIONS, POST",
    "/schemas/plugins/key-auth": "GET, HEAD, OPTIONS",
    "/schemas/plugins/validate": "OPTIONS, POST",
    "/plugins/enabled": "GET, HEAD, OPTIONS",
    "/plugins/other": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/cache": "DELETE, OPTIONS",
    "/cache/x": "DELETE, GET, HEAD, OPTIONS",
    "/debug/node/log-level/debug": "OPTIONS, PUT",
    "/status": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize(("path", "methods"), METHODS.items())
def test_methods(api, path, methods):
    answer = api.client.options(path)
    assert answer.status_code == 204
    assert answer.headers["Allow"] == answer.headers["Access-Control-Allow-Methods"] == methods


@pytest.mark.parametrize(("path", "methods"), METHODS.items())
def test_all_other_methods_are_refused(api, path, methods):
    known = methods.split(", ")
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "INVENTED"):
        if method not in known:
            expected = None if method == "HEAD" else {"message": "Method not allowed"}
            assert api.call(method, path) == (405, expected)


ENTERPRISE = (
    "/workspaces /workspaces/default /consumer_groups /licenses /partials /mtls-auths /rbac/users /default/kong"
)


@pytest.mark.parametrize("path", [*ENTERPRISE.split(), "/favicon.ico", "/status/ready", "/services/x/nope", "/nope"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_paths(api, path, method):
    assert api.call(method, path) == (404, {"message": "Not found"})


def test_robots(api):
    answer = api.client.get("/robots.txt")
    assert (answer.status_code, answer.data) == (200, b"User-agent: *\nDisallow: /\n")


@pytest.mark.parametrize("path", ["/services/", "/default/services", "/default/services/", "/%73ervices"])
def test_spellings(api, path):
    assert api.get(path) == (200, {"data": [], "next": None})


# -- paths that are not for this node


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/filter-chains"),
        ("POST", "/filter-chains"),
        ("GET", "/filter-chains/x"),
        ("PUT", "/services/x/filter-chains/y"),
        ("GET", "/routes/x/filter-chains"),
        ("GET", "/routes/x/filters/enabled"),
    ],
)
def test_filter_chains(api, method, path):
    assert api.call(method, path, {} if method in ("POST", "PUT") else None) == NO_WASM


@pytest.mark.parametrize("path", ["/clustering/data-planes", "/clustering/status"])
def test_clustering(api, path):
    status, body = api.get(path)
    assert status == 400
    assert "Control Plane" in body["message"]


def test_config_takes_yaml(api):
    assert api.call("POST", "/config", data="_format_version: '3.0'", content_type="text/yaml")[0] == 201
    assert api.call("POST", "/services", data="host: h", content_type="text/yaml")[0] == 415


# -- schemas


@pytest.mark.parametrize("name", ["services", "routes", "consumers", "plugins", "keyauth_credentials"])
def test_schema_documents(api, name):
    status, document = api.get(f"/schemas/{name}")
    assert status == 200
    assert set(document) == {"fields", "entity_checks"}
    assert all(len(field) == 1 for field in document["fields"])
    assert list(document["fields"][0]) == ["id"]
    assert document["fields"][0]["id"].items() >= {"type": "string", "uuid": True, "auto": True}.items()


def test_the_schema_of_services_as_clients_read_it(api):
    fields = {name: field for entry in api.get("/schemas/services")[1]["fields"] for name, field in entry.items()}
    assert fields["retries"].items() >= {"type": "integer", "default": 5, "between": [0, 32767]}.items()
    assert fields["protocol"].items() >= {"type": "string", "required": True, "default": "http"}.items()
    assert fields["port"].items() >= {"type": "integer", "required": True, "default": 80}.items()
    assert fields["client_certificate"].items() >= {"type": "foreign", "reference": "certificates"}.items()
    assert fields["enabled"].items() >= {"type": "boolean", "required": True, "default": True}.items()
    assert "url" not in fields


def test_the_schema_of_a_plugin(api):
    status, document = api.get("/schemas/plugins/key-auth")
    assert status == 200
    names = [name for entry in document["fields"] for name in entry]
    assert names == ["consumer", "protocols", "config"]
    consumer, _, config = (next(iter(entry.values())) for entry in document["fields"])
    assert consumer.items() >= {"type": "foreign", "reference": "consumers", "eq": None}.items()
    assert config["type"] == "record"
    assert config["required"] is True
    fields = {name: field for entry in config["fields"] for name, field in entry.items()}
    assert fields["key_names"].items() >= {"type": "array", "required": True, "default": ["apikey"]}.items()


def test_deprecated_names_in_the_schema_of_a_plugin(api):
    document = api.get("/schemas/plugins/limits")[1]
    config = next(entry["config"] for entry in document["fields"] if "config" in entry)
    [shorthand] = config["shorthand_fields"]
    assert shorthand["redis_host"]["deprecation"]["replaced_with"] == [{"path": ["redis", "host"]}]


def test_only_the_settings_of_a_plugin(api):
    status, document = api.get("/plugins/schema/key-auth")
    assert status == 200
    assert [name for entry in document["fields"] for name in entry][0] == "key_names"


UNKNOWN = {
    "/schemas/nope": "No entity named 'nope'",
    "/schemas/plugins/nope": "No plugin named 'nope'",
    "/schemas/vaults/nope": "No vault named 'nope'",
    "/schemas/filters/nope": "Filter 'nope' not found",
    "/plugins/schema/nope": "No plugin named 'nope'",
}


@pytest.mark.parametrize(("path", "text"), UNKNOWN.items())
def test_unknown_schemas(api, path, text):
    assert api.get(path) == (404, {"message": text})


VALID = {
    "services": {"host": "h"},
    "routes": {"paths": ["/a"], "service": {"id": "11111111-1111-4111-8111-111111111111"}},
    "consumers": {"username": "u"},
    "plugins": {"name": "key-auth", "config": {"key_names": ["a"]}},
}


@pytest.mark.parametrize("name", VALID)
def test_validation_without_storing(api, name):
    before = api.node.publications
    assert api.post(f"/schemas/{name}/validate", VALID[name]) == (200, {"message": "schema validation successful"})
    assert api.all(f"/{name}") == []
    assert api.node.publications == before


def test_validation_by_form(api):
    text = "name=limits&config.minute=5"
    assert api.form("/schemas/plugins/validate", text) == (200, {"message": "schema validation successful"})


def test_validation_does_not_look_at_uniqueness(api):
    api.make("/consumers", username="u")
    assert api.post("/schemas/consumers/validate", {"username": "u"})[0] == 200


def test_failed_validation(api):
    assert api.post("/schemas/services/validate", {"port": "x"}) == (
        400,
        {
            "code": 2,
            "name": "schema violation",
            "message": "2 schema violations (host: required field missing; port: expected an integer)",
            "fields": {"host": "required field missing", "port": "expected an integer"},
        },
    )


def test_validation_of_an_unknown_plugin(api):
    status, body = api.post("/schemas/plugins/validate", {"name": "nope"})
    assert (status, list(body["fields"])) == (400, ["name"])


def test_validation_of_an_unknown_entity(api):
    assert api.post("/schemas/nope/validate", {}) == (404, {"message": "No entity named 'nope'"})


# -- plugins, timers, cache, log level


def test_enabled_plugins(api):
    assert api.get("/plugins/enabled") == (200, {"enabled_plugins": ["key-auth", "limits"]})


def test_timers(api):
    api.node.timers = lambda: {"running": 2, "pending": 3}
    status, body = api.get("/timers")
    assert status == 200
    assert body["worker"] == {"id": 0, "count": 1}
    assert body["stats"]["sys"] == {"total": 5, "runs": 0, "running": 2, "pending": 3, "waiting": 0}


def test_cache(api):
    key = "consumers:x:::::w"
    assert api.get(f"/cache/{key}") == (404, {"message": "Not found"})
    api.node.cache = {key: {"a": 1}, "scalar": "v", "list": [{"a": 1}], "gone": 1}
    assert api.get(f"/cache/{key}") == (200, {"a": 1})
    assert api.get("/cache/scalar") == (200, {"message": "v"})
    assert api.get("/cache/list") == (200, [{"a": 1}])
    assert api.delete("/cache/gone") == (204, None)
    assert set(api.node.cache) == {key, "scalar", "list"}
    assert api.delete("/cache") == (204, None)
    assert api.node.cache == {}


def test_log_level(api):
    assert api.get("/debug/node/log-level") == (200, {"message": "log level: notice"})
    assert api.put("/debug/node/log-level/debug") == (200, {"message": "log level changed"})
    assert (api.node.log_level, api.node.level_timeout) == ("debug", 60)
    assert api.put("/debug/node/log-level/debug") == (200, {"message": "log level is already debug"})
    assert api.get("/debug/node/log-level") == (200, {"message": "log level: debug"})


@pytest.mark.parametrize("path", ["/debug/node/log-level", "/debug/cluster/log-level"])
def test_log_level_with_a_timeout(api, path):
    assert api.put(f"{path}/info?timeout=0")[0] == 200
    assert (api.node.log_level, api.node.level_timeout) == ("info", 0)
    assert api.put(f"{path}/warn", {"timeout": 5})[0] == 200
    assert (api.node.log_level, api.node.level_timeout) == ("warn", 5)


def test_unknown_log_level(api):
    assert api.put("/debug/node/log-level/loud") == (400, {"message": "unknown log level: loud"})


@pytest.mark.parametrize("timeout", ["-1", "x", "nan", "inf", "", "1&timeout=2"])
def test_bad_timeouts(api, timeout):
    text = "timeout must be greater than or equal to 0"
    assert api.put(f"/debug/node/log-level/debug?timeout={timeout}") == (400, {"message": text})
    assert api.node.log_level == "notice"


@pytest.mark.parametrize("timeout", [True, [5], {"seconds": 5}, -1])
def test_bad_timeouts_in_a_body(api, timeout):
    text = "timeout must be greater than or equal to 0"
    assert api.put("/debug/node/log-level/debug", {"timeout": timeout}) == (400, {"message": text})


def test_status_is_on_both_listeners(api):
    other = create_status_app(api.node).test_client()
    assert api.get("/status")[1]["database"] == other.get("/status").json["database"] == {"reachable": True}
