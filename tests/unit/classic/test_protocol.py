"""What every classic path has in common, what the node tells, and how both views of one object agree."""

import json
import random

import pytest

from kong_gevent.admin import create_classic_app
from tests.unit.admin.api import FORM
from tests.unit.admin.hostile import NAMES, SPECIAL, broken_json, hostile_form, value
from tests.unit.admin.world import JSON

NOT_FOUND = (404, {"message": "Not found"})


def test_bodies(api):
    body = b"request_path=/a&upstream_url=http://h"
    assert api.post("/apis", data=b"{", content_type=JSON) == (400, {"message": "Cannot parse JSON body"})
    multipart = b"".join(
        b'--X\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % tuple(pair.split(b"="))
        for pair in body.split(b"&")
    )
    status, made = api.post("/apis", data=multipart + b"--X--\r\n", content_type="multipart/form-data; boundary=X")
    assert (status, made["name"]) == (201, "a")


CREDENTIALS = "key-auth keyauth basic-auth basicauth hmac-auth oauth2 acls jwt".split()
METHODS = [
    ("/apis", "GET POST PUT"),
    ("/apis/a", "GET PATCH DELETE"),
    ("/apis/a/plugins", "GET POST PUT"),
    ("/apis/a/plugins/b", "GET PATCH DELETE"),
    ("/plugins", "GET POST PUT"),
    ("/plugins/a", "GET PATCH DELETE"),
    ("/plugins_configurations", "GET POST PUT"),
    ("/consumers", "GET POST PUT"),
    ("/consumers/a", "GET PATCH DELETE"),
    ("/consumers/a/key-auth", "GET POST PUT"),
    ("/consumers/a/keyauth/b", "GET PATCH DELETE"),
    *((f"/consumers/a/{name}", "GET POST PUT") for name in CREDENTIALS),
    *((f"/consumers/a/{name}/b", "GET PATCH DELETE") for name in CREDENTIALS if name != "jwt"),
    ("/consumers/a/jwt/b", "GET DELETE"),
    ("/oauth2", "GET"),
    ("/plugins_configurations/a", "GET PATCH DELETE"),
    ("/plugins/schema/a", "GET"),
    ("/plugins/a/schema", "GET"),
    ("/", "GET"),
    ("/status", "GET"),
    ("/plugins/enabled", "GET"),
]


@pytest.mark.parametrize(("path", "methods"), METHODS)
def test_methods(api, path, methods):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for spelt in (path, path.rstrip("/") + "/"):
            status, body = api.call(method, spelt)
            assert (status == 405) is (method not in methods.split()), (method, status, body)
    assert api.client.head("/classic" + path).status_code == 405
    answer = api.client.options("/classic" + path)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_unknown_paths(api):
    assert api.get("/apis/a/b") == NOT_FOUND
    assert api.delete("/apis") == (405, {"message": "Method not allowed"})


def test_information(api):
    api.made("/apis", "request_path=/a&upstream_url=http://h")
    api.made("/apis/a/plugins", "name=cors")
    root = api.get("/")[1]
    assert root["tagline"] == "Welcome to Kong" and root["version"].startswith("0.5.")
    assert root["plugins"]["enabled_in_cluster"] == ["cors"]
    assert root["plugins"]["available_on_server"] == api.get("/plugins/enabled")[1]["enabled_plugins"]
    assert len(api.get("/status")[1]) == 7


def test_schemas(api):
    assert api.get("/plugins/schema/key-auth") == api.get("/plugins/keyauth/schema")
    status, body = api.get("/plugins/schema/key-auth")
    assert (status, body) == (200, {
        "fields": {
            "key_names": {"type": "array", "default": ["apikey"]},
            "hide_credentials": {"type": "boolean", "default": False},
        },
        "no_consumer": True,
    })  # fmt: skip
    fields = api.get("/plugins/schema/tcp-log")[1]["fields"]
    assert fields["host"] == {"type": "string", "required": True}
    assert fields["timeout"] == {"type": "number", "default": 10000}
    assert api.get("/plugins/schema/cors")[1]["fields"]["origin"] == {"type": "string"}
    assert "no_consumer" not in api.get("/plugins/schema/rate-limiting")[1]
    assert api.get("/plugins/schema/x") == (404, {"message": "No plugin named 'x'"})


def test_a_listener_of_its_own_has_the_paths_without_prefix(api, node):
    client = create_classic_app(node).test_client()
    assert client.get("/apis/").data == b'{"data":[]}\n'
    assert client.get("/services").status_code == 404
    assert client.get("/nothing").json == {"message": "Not found"}


@pytest.mark.parametrize(("managers", "allowed"), [([], "*"), (["http://gui.test"], "http://gui.test")])
@pytest.mark.parametrize(("method", "path"), [("GET", "/apis"), ("OPTIONS", "/apis"), ("GET", "/nothing")])
def test_what_pages_may_read(node, managers, allowed, method, path):
    app = create_classic_app(node)
    app.gui_origins = managers
    headers = app.test_client().open(path, method=method, headers={"Origin": "http://page.test"}).headers
    assert headers["Access-Control-Allow-Origin"] == allowed
    assert "Access-Control-Allow-Credentials" not in headers


# -- one object, two views


def test_an_api_is_a_service_with_routes(api):
    made = api.made("/apis", "request_host=*.A.test&request_path=/a.b&preserve_host=true&upstream_url=https://h/x")
    service = api.today.get(f"/services/{made['id']}")[1]
    told = {name: service[name] for name in ("name", "protocol", "host", "port", "path", "tags")}
    assert told == {
        "name": "-.A.test", "protocol": "https", "host": "h", "port": 443, "path": "/x", "tags": ["classic-api"],
    }  # fmt: skip
    routes = {route["name"]: route for route in api.today.get(f"/services/{made['id']}/routes")[1]["data"]}
    assert set(routes) == {"classic-host-_.a.test", "classic-override-_.a.test", "classic-path-~1a.b"}
    assert routes["classic-host-_.a.test"]["hosts"] == ["*.A.test"]
    assert routes["classic-path-~1a.b"]["paths"] == ["/a.b/", r"~/a\.b$"]
    assert all(route["preserve_host"] and route["tags"] == ["classic-api"] for route in routes.values())


def test_changes_of_today_are_seen(api):
    made = api.made("/apis", "request_host=a.test&request_path=/a&upstream_url=http://h&name=a")
    api.today.patch("/services/a", {"url": "https://i:1/y", "name": "b", "retries": 1})
    api.today.patch("/routes/classic-path-~1a", {"strip_path": True})
    assert api.get("/apis/b")[1] == {
        **made, "name": "b", "upstream_url": "https://i:1/y", "strip_request_path": True,
    }  # fmt: skip
    assert api.patch("/apis/b", "upstream_url=http://k")[0] == 200
    service = api.today.get("/services/b")[1]
    assert (service["host"], service["path"], service["retries"]) == ("k", None, 1)
    api.today.patch("/routes/classic-path-~1a", {"protocols": ["https"], "tags": ["mine"]})
    assert api.put("/apis", {**made, "request_path": "/b"})[0] == 200
    [route] = [route for route in api.today.get("/routes")[1]["data"] if route["name"] == "classic-path-~1b"]
    assert (route["protocols"], route["tags"], route["strip_path"]) == (["https"], ["mine"], False)


INEXPRESSIBLE = [
    ("/routes/classic-path-~1a", {"methods": ["GET"]}),
    ("/routes/classic-path-~1a", {"paths": ["/a", "/b"]}),
    ("/routes/classic-host-a.test", {"hosts": ["a.test", "b.test"]}),
    ("/routes/classic-host-a.test", {"preserve_host": True}),
    ("/routes/classic-override-a.test", None),
    ("/services/a", {"protocol": "grpc", "path": None}),
]


@pytest.mark.parametrize(("path", "change"), INEXPRESSIBLE)
def test_what_cannot_be_expressed_is_read_only(api, path, change):
    api.made("/apis", "request_host=a.test&request_path=/a&upstream_url=http://h&name=a")
    status, _ = api.today.delete(path) if change is None else api.today.patch(path, change)
    assert status in (200, 204)
    status, shown = api.get("/apis/a")
    assert status == 200 and shown["name"] == "a"
    status, body = api.patch("/apis/a", "preserve_host=true")
    assert status == 409 and "change it there" in body["message"]
    assert api.get("/apis/a")[1] == shown
    assert api.delete("/apis/a") == (204, None)


def test_other_services_are_no_apis(api):
    service = api.today.make("/services", name="plain", host="h")
    api.today.make("/services/plain/routes", paths=["/p"])
    assert api.get("/apis")[1] == {"data": []}
    assert api.get("/apis/plain") == api.get(f"/apis/{service['id']}") == NOT_FOUND
    assert api.post("/apis", "name=plain&request_path=/p&upstream_url=http://h") == (
        409, {"name": "name already exists with value 'plain'"},
    )  # fmt: skip
    assert api.post("/apis", f"id={service['id']}&request_path=/p&upstream_url=http://h")[0] == 409


def test_a_tag_makes_an_api_of_a_service(api):
    service = api.today.make("/services", name="s", host="h", tags=["classic-api"])
    api.today.make("/services/s/routes", paths=["/p/", "~/p$"], strip_path=False)
    assert api.get("/apis/s")[1]["request_path"] == "/p"
    assert api.patch("/apis/s", "request_path=/q")[1]["id"] == service["id"]
    assert api.today.get("/services/s/routes")[1]["data"][0]["paths"] == ["/q/", "~/q$"]


# -- hostile input

TARGETS = [
    ("POST", "/apis"),
    ("PUT", "/apis"),
    ("PATCH", "/apis/a"),
    ("POST", "/apis/a/plugins"),
    ("PUT", "/apis/a/plugins"),
    ("PATCH", "/apis/a/plugins/key-auth"),
    ("POST", "/plugins_configurations"),
    ("POST", "/consumers"),
    ("PUT", "/consumers"),
    ("PATCH", "/consumers/bob"),
    ("POST", "/consumers/bob/key-auth"),
    ("PUT", "/consumers/bob/key-auth"),
]
FIELDS = [*NAMES, *"request_host request_path upstream_url strip_request_path preserve_host api_id consumer_id".split()]
FIELDS += "value target_url public_dns path whitelist limits add remove origin second".split()
FIELDS += "cert key only_https".split()
PLUGIN_NAMES = [
    "key-auth",
    "ssl",
    "rate-limiting",
    "cors",
    "ip_restriction",
    "tcplog",
    "httplog",
    "filelog",
    "syslog",
    "x",
]


@pytest.fixture
def target(api):
    api.made("/apis", "request_path=/a&upstream_url=http://h&name=a")
    api.made("/apis/a/plugins", "name=key-auth")
    api.made("/consumers", "username=bob")
    return api


def stored(api):
    """Everything that is stored."""
    store = api.node.store
    kinds = [name for name in store.catalogue if name != "audit_requests"]
    return {(row.kind, row.id): row.body for name in kinds for row in store.strategy.page(name, None, 1000)}


def judged(api, method, path, **options):
    """A call that is no 5xx; a refusal is flat and changes nothing."""
    before = stored(api)
    status, answer = api.call(method, path, **options)
    assert status < 500, (method, path, options, answer)
    assert answer is None or isinstance(answer, dict)
    if status >= 400:
        assert stored(api) == before, (method, path, options, answer)
        assert all(isinstance(text, str) for text in (answer or {}).values()), answer
    elif status == 201:  # so that the next ones meet the same objects
        api.delete(f"{path}/{answer['id']}")


@pytest.mark.parametrize(("method", "path"), TARGETS)
def test_hostile_bodies(target, method, path):
    source = random.Random(f"{method} {path}")
    for body in SPECIAL:
        judged(target, method, path, data=body, content_type=JSON)
    for at in range(350):
        judged(target, method, path, data=broken_json(source), content_type=JSON)
        form = hostile_form(source) + b"&" + source.choice(FIELDS).encode() + b".a=1"
        judged(target, method, path, data=form, content_type=FORM)
        body = {name: value(source) for name in source.sample(FIELDS, source.randint(1, 5))}
        if at % 2:
            body["name"] = source.choice(PLUGIN_NAMES)
        if at % 3:
            body["config"] = {name: value(source) for name in source.sample(FIELDS, 3)}
        judged(target, method, path, data=json.dumps(body), content_type=JSON)


OVERSIZED = {
    "too many octets": (b'{"name":"' + b"a" * (10 << 20) + b'"}', JSON, 413),
    "form with too many octets": (b"a=" + b"a" * (10 << 20), FORM, 413),
    "too many values": (b'{"tags":[' + b"1," * 300_000 + b"1]}", JSON, 413),
    "too many arguments": (b"&".join(b"f%d=1" % at for at in range(1001)), FORM, 400),
    "too deep": (b'{"config":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400),
}


@pytest.mark.parametrize("case", OVERSIZED)
def test_oversized_bodies(target, case):
    body, content_type, expected = OVERSIZED[case]
    before = stored(target)
    for method, path in TARGETS:
        assert target.call(method, path, data=body, content_type=content_type)[0] == expected, path
    assert stored(target) == before


def test_hostile_queries(target):
    source = random.Random(7)
    for _ in range(300):
        path = source.choice(["/apis", "/plugins", "/consumers", "/consumers/bob/key-auth", "/apis/a/plugins"])
        name = source.choice(["size", "offset", "id", "api_id", "consumer_id", "name", "key", "custom_id", "x"])
        text = "".join(source.choices("a1-_=&%[].,/;é", k=source.randint(0, 12)))
        judged(target, "GET", path, query_string=f"{name}={text}")
