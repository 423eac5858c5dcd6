"""What every request goes through before an endpoint sees it, shown on the status listener's small app."""

import logging

import pytest
from flask import Blueprint

from kong_gevent import errors
from kong_gevent.admin import LocalNode, create_status_app
from kong_gevent.admin.routing import add_path
from kong_gevent.conf import load

JSON = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"


class Store:
    """All that the status endpoints ask of a store."""

    catalogue = {}
    up = True

    def reachable(self):
        return self.up


def raising(error):
    def view(**_values):
        raise error

    return view


FAILURES = {
    "unforeseen": RuntimeError("secret"),
    "database": errors.DatabaseError("secret"),
    "unavailable": errors.StoreUnavailable("the datastore is locked"),
    "overloaded": errors.Overloaded("full"),
    "coded": errors.UniqueViolation("taken", fields={"name": "x"}),
    "plain": errors.HttpError(418, "teapot"),
}


def client(**settings):
    made = Blueprint("failing", __name__)
    for name, error in FAILURES.items():
        add_path(made, f"/fail/{name}", {"GET": raising(error), "POST": raising(error)})
    node = LocalNode(load(overrides={"prefix": "/nonexistent", **settings}, environ={}), Store())
    app = create_status_app(node, [made])
    app.testing = True
    test_client = app.test_client()
    test_client.node = node
    return test_client


@pytest.fixture
def api():
    return client()


def test_every_answer_carries_the_same_fields(api):
    for path in ("/status", "/nope", "/fail/unforeseen"):
        headers = api.get(path).headers
        assert headers["Server"] == "kong/3.9.1"
        assert headers["X-Kong-Admin-Latency"].isdigit()
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Credentials"] == "true"
        assert headers["Content-Type"] == JSON
        assert "Via" not in headers
        assert "Allow" not in headers


HEADERS = {
    "off": (False, False),
    "server_tokens": (True, False),
    "Server": (True, False),
    "latency_tokens": (False, True),
    "x-kong-admin-latency": (False, True),
    "Via": (False, False),
}


@pytest.mark.parametrize(("setting", "expected"), HEADERS.items())
def test_the_headers_setting_chooses(setting, expected):
    headers = client(headers=setting).get("/status").headers
    assert ("Server" in headers, "X-Kong-Admin-Latency" in headers) == expected


ORIGINS = {
    "no manager, no origin": (None, None, "*"),
    "no manager": (None, "http://a.test", "http://a.test"),
    "manager": ("http://m.test:8002/path", "http://m.test:8002", "http://m.test:8002"),
    "manager, other origin": ("http://m.test:8002/path", "http://a.test", "http://m.test:8002"),
    "manager, no origin": ("http://m.test:8002", None, "http://m.test:8002"),
    "two managers": ("http://m.test, https://n.test/x", "https://n.test", "https://n.test"),
    "two managers, other origin": ("http://m.test, https://n.test/x", "https://n.test:1", "http://m.test"),
}


@pytest.mark.parametrize(("setting", "origin", "allowed"), ORIGINS.values(), ids=ORIGINS)
def test_allowed_origin(setting, origin, allowed):
    api = client(**({"admin_gui_url": setting} if setting else {}))
    answer = api.get("/status", headers={"Origin": origin} if origin else {})
    assert answer.headers["Access-Control-Allow-Origin"] == allowed


def test_options_of_a_known_path(api):
    answer = api.options("/status/ready")
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert "Content-Length" not in answer.headers


def test_options_echoes_the_fields_asked_for(api):
    answer = api.options("/status", headers={"Access-Control-Request-Headers": "X-A, X-B"})
    assert answer.headers["Access-Control-Allow-Headers"] == "X-A, X-B"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "INVENTED"])
def test_unknown_path(api, method):
    answer = api.open("/nope", method=method)
    assert (answer.status_code, answer.json) == (404, {"message": "Not found"})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "INVENTED"])
def test_unsupported_method(api, method):
    answer = api.open("/status", method=method)
    assert (answer.status_code, answer.json) == (405, {"message": "Method not allowed"})


def test_head_is_get_without_a_body(api):
    got, head = api.get("/status/ready"), api.head("/status/ready")
    assert head.data == b""
    assert {k: v for k, v in head.headers if "Latency" not in k} == {k: v for k, v in got.headers if "Latency" not in k}


def test_head_of_an_unknown_path(api):
    answer = api.head("/nope")
    assert (answer.status_code, answer.data) == (404, b"")


@pytest.mark.parametrize("path", ["/status/", "/default/status", "/default/status/", "/%73tatus"])
def test_other_spellings_of_a_path(api, path):
    assert api.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/status/%ff", "/%00"])
def test_undecodable_path(api, path):
    assert api.get(path).status_code == 400


@pytest.mark.parametrize("content_type", [None, "text/plain", "Application/json", "text/yaml", "application/yaml"])
@pytest.mark.parametrize("path", ["/status", "/status/ready"])
def test_unsupported_content_type_comes_before_the_method(api, path, content_type):
    answer = api.post(path, data=b"status=draining", content_type=content_type)
    assert (answer.status_code, answer.data) == (415, b"")
    assert answer.headers["Content-Length"] == "0"


def test_the_path_comes_before_the_content_type(api):
    assert api.post("/nope", data=b"x", content_type="text/plain").status_code == 404


def test_the_method_comes_before_the_body(api):
    assert api.post("/status", data=b"{", content_type="application/json").status_code == 405


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"status":"draining"'])
def test_a_json_body_has_to_decode(api, body):
    answer = api.post("/status/ready", data=body, content_type="application/json")
    assert (answer.status_code, answer.json) == (400, {"message": "Cannot parse JSON body"})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_other_methods_ignore_their_body(api, method):
    expected = {"GET": 200, "DELETE": 405}[method]
    answer = api.open("/status/ready", method=method, data=b"{", content_type="application/json")
    assert answer.status_code == expected


def test_too_many_query_arguments(api):
    answer = api.get("/status?" + "&".join(["a=1"] * 1001))
    assert (answer.status_code, answer.json) == (400, {"message": "Too many arguments"})


def test_a_thousand_query_arguments(api):
    assert api.get("/status?" + "&".join(["a=1"] * 1000)).status_code == 200


def test_too_many_form_arguments(api):
    answer = api.post("/status/ready", data="&".join(["a=1"] * 1001), content_type=FORM)
    assert (answer.status_code, answer.json) == (400, {"message": "Too many arguments"})


def test_payload_too_large():
    api = client(nginx_admin_client_max_body_size="1k")
    answer = api.post("/status/ready", data=b"a" * 1025, content_type=FORM)
    assert (answer.status_code, answer.json) == (413, {"message": "Payload too large"})


def test_ten_megabytes_and_one_octet(api):
    answer = api.post("/status/ready", data=b"a" * (10 * 2**20 + 1), content_type=FORM)
    assert (answer.status_code, answer.json) == (413, {"message": "Payload too large"})


def test_no_limit():
    api = client(nginx_admin_client_max_body_size="0")
    assert api.post("/status/ready", data=b"a=" + b"a" * 2**20, content_type=FORM).status_code == 400


ANSWERS = {
    "unforeseen": (500, {"message": "An unexpected error occurred"}),
    "database": (500, {"message": "An unexpected error occurred"}),
    "unavailable": (503, {"message": "the datastore is locked"}),
    "overloaded": (503, {"message": "The gateway is busy, try again later"}),
    "coded": (409, {"code": 5, "name": "unique constraint violation", "message": "taken", "fields": {"name": "x"}}),
    "plain": (418, {"message": "teapot"}),
}


@pytest.mark.parametrize(("name", "expected"), ANSWERS.items())
def test_failures(api, name, expected):
    answer = api.get(f"/fail/{name}")
    assert (answer.status_code, answer.json) == expected


def test_unforeseen_failures_are_logged_and_not_shown(api, caplog):
    with caplog.at_level(logging.ERROR, "kong_gevent.admin"):
        answer = api.get("/fail/unforeseen")
    assert b"secret" not in answer.data
    assert "secret" in caplog.text


# -- the status listener


def test_status(api):
    api.node.counters["total_requests"] = 7
    body = api.get("/status").json
    assert body["server"]["total_requests"] == 7
    assert body["database"] == {"reachable": True}
    assert "configuration_hash" not in body
    [worker] = body["memory"]["workers_lua_vms"]
    assert worker["http_allocated_gc"].endswith(" MiB")


def test_status_of_an_unreachable_store(api):
    api.node.store.up = False
    assert api.get("/status").json["database"] == {"reachable": False}


def test_workers_are_listed_by_pid(api):
    api.node.workers = lambda: [(9, 1 << 20), (4, 1536 << 10)]
    assert api.get("/status").json["memory"]["workers_lua_vms"] == [
        {"pid": 4, "http_allocated_gc": "1.50 MiB"},
        {"pid": 9, "http_allocated_gc": "1.00 MiB"},
    ]


UNITS = {
    "": "1.50 MiB",
    "?unit=k": "1536.00 KiB",
    "?unit=K&scale=0": "1536 KiB",
    "?unit=m&scale=1": "1.5 MiB",
    "?unit=G&scale=4": "0.0015 GiB",
    "?unit=b": 1572864,
    "?unit=b&scale=7": 1572864,
    "?scale=1.9": "1.5 MiB",
}


@pytest.mark.parametrize(("query", "shown"), UNITS.items())
def test_units_of_memory(api, query, shown):
    api.node.workers = lambda: [(4, 1536 << 10)]
    api.node.shared_memory = lambda: {"kong": (1536 << 10, 1536 << 10)}
    memory = api.get("/status" + query).json["memory"]
    assert memory["workers_lua_vms"] == [{"pid": 4, "http_allocated_gc": shown}]
    assert memory["lua_shared_dicts"] == {"kong": {"capacity": shown, "allocated_slabs": shown}}


@pytest.mark.parametrize("unit", ["x", "KB", "kk", "1"])
def test_unknown_units(api, unit):
    answer = api.get(f"/status?unit={unit}")
    text = f"invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')"
    assert (answer.status_code, answer.json) == (400, {"message": text})


@pytest.mark.parametrize("scale", ["-1", "x", "", "nan", "1e400", "1&scale=2"])
def test_bad_scales(api, scale):
    answer = api.get(f"/status?scale={scale}")
    assert (answer.status_code, answer.json) == (400, {"message": "scale must be equal or greater than 0"})


def test_a_huge_scale_costs_nothing(api):
    assert api.get("/status?scale=999999999").status_code == 200


def test_ready(api):
    answer = api.get("/status/ready")
    assert (answer.status_code, answer.json) == (200, {"message": "ready"})


def test_not_ready(api):
    api.node.unready = "router builds not yet complete"
    answer = api.get("/status/ready")
    assert (answer.status_code, answer.json) == (503, {"message": "router builds not yet complete"})


@pytest.mark.parametrize(
    ("body", "content_type"), [("status=draining", FORM), ('{"status":"draining"}', "application/json")]
)
def test_draining(api, body, content_type):
    assert api.post("/status/ready", data=body, content_type=content_type).status_code == 204
    answer = api.get("/status/ready")
    assert (answer.status_code, answer.json) == (503, {"message": "draining"})


@pytest.mark.parametrize("body", ["status=ready", "status=", "", "status[]=draining"])
def test_other_states_are_refused(api, body):
    assert api.post("/status/ready", data=body, content_type=FORM).status_code == 400
    assert api.get("/status/ready").status_code == 200


def test_dns_statistics_are_for_the_new_client(api):
    answer = api.get("/status/dns")
    assert (answer.status_code, answer.json) == (501, {"message": "not implemented with the legacy DNS client"})


@pytest.mark.parametrize("path", ["/", "/services", "/schemas/services"])
def test_the_status_listener_serves_nothing_else(api, path):
    assert api.get(path).status_code == 404
