"""Coded errors as clients see them: status, code, name, message and fields."""

import pytest

NOWHERE = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


def violation(message, **fields):
    return 400, {"code": 2, "name": "schema violation", "message": message, "fields": fields}


BAD_SERVICES = {
    "several": (
        {"foo": 1, "host": "a b", "port": 70000},
        violation(
            "3 schema violations (foo: unknown field; host: invalid value: a b; "
            "port: value should be between 0 and 65535)",
            foo="unknown field",
            host="invalid value: a b",
            port="value should be between 0 and 65535",
        ),
    ),
    "entity check first": (
        {"host": "h", "protocol": "grpc", "path": "/x"},
        violation(
            "2 schema violations (failed conditional validation given value of field 'protocol'; "
            "path: value must be null)",
            path="value must be null",
            **{"@entity": ["failed conditional validation given value of field 'protocol'"]},
        ),
    ),
    "position in an array": (
        {"host": "h", "retries": -1, "tags": ["a,b"]},
        violation(
            "2 schema violations (retries: value should be between 0 and 32767; tags.1: invalid tag 'a,b': "
            "expected printable ascii (except `,` and `/`) or valid utf-8 sequences)",
            retries="value should be between 0 and 32767",
            tags=["invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"],
        ),
    ),
    "hole in an array": (
        {"host": "h", "tags": ["a", "b/c"]},
        violation(
            "schema violation (tags.2: invalid tag 'b/c': expected printable ascii (except `,` and `/`) "
            "or valid utf-8 sequences)",
            tags=[None, "invalid tag 'b/c': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"],
        ),
    ),
    "missing": ({}, violation("schema violation (host: required field missing)", host="required field missing")),
    "no text": ({"host": 5}, violation("schema violation (host: expected a string)", host="expected a string")),
    "no number": (
        {"host": "h", "retries": "5"},
        violation("schema violation (retries: expected an integer)", retries="expected an integer"),
    ),
    "no boolean": (
        {"host": "h", "enabled": "true"},
        violation("schema violation (enabled: expected a boolean)", enabled="expected a boolean"),
    ),
    "no set": ({"host": "h", "tags": "a"}, violation("schema violation (tags: expected a set)", tags="expected a set")),
    "empty text": (
        {"host": "h", "name": ""},
        violation("schema violation (name: length must be at least 1)", name="length must be at least 1"),
    ),
    "name": (
        {"host": "h", "name": "x y"},
        violation(
            "schema violation (name: invalid value 'x y': the only accepted ascii characters are alphanumerics "
            "or ., -, _, and ~)",
            name="invalid value 'x y': the only accepted ascii characters are alphanumerics or ., -, _, and ~",
        ),
    ),
    "id": (
        {"host": "h", "id": "x"},
        violation("schema violation (id: expected a valid UUID)", id="expected a valid UUID"),
    ),
    "creation time": (
        {"host": "h", "created_at": -5},
        violation("schema violation (created_at: expected a valid timestamp)", created_at="expected a valid timestamp"),
    ),
    "reference without key": (
        {"host": "h", "client_certificate": {"cert": "x"}, "protocol": "https"},
        None,
    ),
}


@pytest.mark.parametrize(("body", "expected"), BAD_SERVICES.values(), ids=BAD_SERVICES)
@pytest.mark.parametrize("call", ["post", "put"])
def test_schema_violations(api, call, body, expected):
    status, answer = getattr(api, call)("/services" if call == "post" else f"/services/{NOWHERE}", body)
    if call == "put" and "id" in body:
        assert status == 200  # the path decides
    elif expected is None:
        assert (status, answer["code"]) == (400, 2)
    else:
        assert (status, answer) == expected
        assert api.all("/services") == []


REFERENCES = {
    "another field": ({"protocol": "http"}, "service.id: missing primary key", {"id": "missing primary key"}),
    "null key": ({"name": None}, "service.id: missing primary key", {"id": "missing primary key"}),
    "nothing": ({}, "service.id: missing primary key", {"id": "missing primary key"}),
}


@pytest.mark.parametrize(("reference", "text", "fields"), REFERENCES.values(), ids=REFERENCES)
def test_references_that_name_no_key(api, reference, text, fields):
    answer = api.post("/routes", {"paths": ["/a"], "service": reference})
    assert answer == violation(f"schema violation ({text})", service=fields)


@pytest.mark.parametrize("reference", ["x", 5, True, ["x"]])
def test_references_that_are_no_objects(api, reference):
    status, answer = api.post("/routes", {"paths": ["/a"], "service": reference})
    assert (status, answer["code"], list(answer["fields"])) == (400, 2, ["service"])


def test_unresolvable_reference(api):
    text = "the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity"
    assert api.post("/routes", {"paths": ["/a"], "service": {"name": "x"}}) == (
        400,
        {
            "code": 13,
            "name": "foreign keys unresolved",
            "message": f"foreign key unresolved (service.name: {text})",
            "fields": {"service": {"name": text}},
        },
    )


def test_several_unresolvable_references(api):
    body = {"name": "key-auth", "service": {"name": "x"}, "route": {"name": "y"}}
    status, answer = api.post("/plugins", body)
    assert (status, answer["code"]) == (400, 13)
    assert answer["message"].startswith("2 foreign keys unresolved (")
    assert sorted(answer["fields"]) == ["route", "service"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/routes"), ("PUT", f"/routes/{OTHER}")])
def test_reference_to_nothing(api, method, path):
    body = {"paths": ["/a"], "service": {"id": NOWHERE}}
    assert api.call(method, path, body) == (
        400,
        {
            "code": 4,
            "name": "foreign key violation",
            "message": f"the foreign key '{{id=\"{NOWHERE}\"}}' does not reference an existing 'services' entity.",
            "fields": {"service": {"id": NOWHERE}},
        },
    )
    assert api.all("/routes") == []


def test_reference_to_an_entity_of_another_kind(api):
    consumer = api.make("/consumers", username="u")
    status, answer = api.post("/routes", {"paths": ["/a"], "service": {"id": consumer["id"]}})
    assert (status, answer["code"]) == (400, 4)


def test_deleting_what_others_refer_to(api):
    service = api.make("/services", name="s", host="h")
    api.make("/services/s/routes", paths=["/a"])
    assert api.delete("/services/s") == (
        400,
        {
            "code": 4,
            "name": "foreign key violation",
            "message": "an existing 'routes' entity references this 'services' entity",
            "fields": {"@referenced_by": "routes"},
        },
    )
    assert api.get("/services/s") == (200, service)


def test_a_taken_id(api):
    api.make("/services", id=NOWHERE, host="h")
    assert api.post("/services", {"id": NOWHERE, "host": "h"}) == (
        400,
        {
            "code": 3,
            "name": "primary key violation",
            "message": f"primary key violation on key '{{id=\"{NOWHERE}\"}}'",
            "fields": {"id": NOWHERE},
        },
    )


def taken(text, **fields):
    name = "unique constraint violation"
    return 409, {"code": 5, "name": name, "message": f"UNIQUE violation detected on '{{{text}}}'", "fields": fields}


UNIQUE = {
    "service": ("/services", {"name": "x", "host": "h"}, taken('name="x"', name="x")),
    "route": ("/routes", {"name": "x", "paths": ["/a"]}, taken('name="x"', name="x")),
    "consumer": ("/consumers", {"username": "x"}, taken('username="x"', username="x")),
    "consumer's other name": ("/consumers", {"custom_id": "x"}, taken('custom_id="x"', custom_id="x")),
    "plugin's instance": (
        "/plugins",
        {"name": "limits", "config": {"minute": 1}, "instance_name": "x"},
        None,
    ),
    "plugin's scope": (
        "/plugins",
        {"name": "key-auth"},
        taken(
            'consumer=null,name="key-auth",route=null,service=null',
            consumer=None,
            name="key-auth",
            route=None,
            service=None,
        ),
    ),
}


@pytest.mark.parametrize(("path", "body", "expected"), UNIQUE.values(), ids=UNIQUE)
def test_taken_values(api, path, body, expected):
    first = api.make(path, **body)
    status, answer = api.post(path, body)
    assert (status, answer["code"]) == (409, 5)
    if expected:
        assert (status, answer) == expected
    assert api.all(path) == [first]


def test_a_plugin_exists_once_per_scope(api):
    service = api.make("/services", name="s", host="h")
    api.make("/plugins", name="key-auth")
    api.make("/services/s/plugins", name="key-auth")
    assert api.post("/services/s/plugins", {"name": "key-auth"}) == taken(
        f'consumer=null,name="key-auth",route=null,service={{id="{service["id"]}"}}',
        consumer=None,
        name="key-auth",
        route=None,
        service={"id": service["id"]},
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_taken_values_on_change(api, method):
    api.make("/services", name="x", host="h")
    mine = api.make("/services", name="y", host="h")
    assert api.call(method, f"/services/{mine['id']}", {"name": "x", "host": "h"}) == taken('name="x"', name="x")
    assert api.get("/services/y") == (200, mine)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_keys_that_break_their_rules(api, method):
    body = {"host": "h"} if method in ("PUT", "PATCH") else None
    assert api.call(method, "/services/a%20b", body) == (
        400,
        {
            "code": 10,
            "name": "invalid unique name",
            "message": "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~",
        },
    )


# -- plugins


def test_unknown_plugin(api):
    text = "plugin 'x' not enabled; add it to the 'plugins' configuration property"
    assert api.post("/plugins", {"name": "x", "config": {"a": 1}, "foo": 1}) == violation(
        f"schema violation (name: {text})", name=text
    )


def test_plugin_without_a_name(api):
    assert api.post("/plugins", {"config": {"a": 1}}) == violation(
        "schema violation (name: required field missing)", name="required field missing"
    )


def test_scope_that_a_plugin_forbids(api):
    consumer = api.make("/consumers", username="u")
    status, answer = api.post("/plugins", {"name": "key-auth", "consumer": {"id": consumer["id"]}})
    assert (status, answer["fields"]) == (400, {"consumer": "value must be null"})


BAD_CONFIGS = {
    "unknown": ({"foo": 1}, {"foo": "unknown field"}, "config.foo: unknown field"),
    "type": ({"key_names": 5}, {"key_names": "expected an array"}, "config.key_names: expected an array"),
}


@pytest.mark.parametrize(("config", "fields", "text"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_settings(api, config, fields, text):
    answer = api.post("/plugins", {"name": "key-auth", "config": config})
    assert answer == violation(f"schema violation ({text})", config=fields)


@pytest.mark.parametrize("config", [5, "x", True])
def test_settings_that_are_no_record(api, config):
    answer = api.post("/plugins", {"name": "key-auth", "config": config})
    assert answer == violation("schema violation (config: expected a record)", config="expected a record")


def test_deprecated_and_new_name_disagree(api):
    config = {"minute": 1, "redis_host": "a", "redis": {"host": "b"}}
    status, answer = api.post("/plugins", {"name": "limits", "config": config})
    assert status == 400
    assert answer["fields"]["config"]["redis_host"] == (
        "both deprecated and new field are used but their values mismatch: redis_host = a vs redis.host = b"
    )


def test_protocols_of_the_route(api):
    api.make("/routes", name="r", protocols=["grpc"], paths=["/a"])
    status, answer = api.post("/routes/r/plugins", {"name": "key-auth", "protocols": ["http"]})
    assert (status, answer["fields"]) == (400, {"protocols": "must match the associated route's protocols"})


# -- consumers


def test_a_consumer_needs_a_name(api):
    text = "at least one of these fields must be non-empty: 'custom_id', 'username'"
    assert api.post("/consumers", {}) == violation(f"schema violation ({text})", **{"@entity": [text]})


def test_a_consumer_keeps_a_name(api):
    api.make("/consumers", username="u")
    status, answer = api.patch("/consumers/u", {"username": None})
    text = "when updating, at least one of these fields must be non-empty: 'custom_id', 'username'"
    assert (status, answer["fields"]) == (400, {"@entity": [text]})


# -- the store


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/services", None),
        ("GET", "/services/x", None),
        ("POST", "/services", {"host": "h"}),
        ("PUT", "/services/x", {"host": "h"}),
        ("PATCH", "/services/x", {}),
        ("DELETE", "/services/x", None),
        ("GET", "/tags", None),
    ],
)
def test_an_unreachable_store(api, monkeypatch, method, path, body):
    from kong_gevent.errors import StoreUnavailable

    def broken(*_arguments, **_options):
        raise StoreUnavailable("the datastore cannot be read: disk gone")

    for name in ("read", "find", "page", "children", "commit", "tagged"):
        monkeypatch.setattr(api.node.store.strategy, name, broken)
    status, answer = api.call(method, path, body)
    assert status == 503
    assert list(answer) == ["message"]
    assert api.node.publications == 0
