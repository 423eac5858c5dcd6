"""Hostile bodies: every one is refused with a 4xx, none is a 5xx, and none leaves anything behind."""

import json
import random

import pytest

from tests.unit.admin.api import FORM
from tests.unit.admin.hostile import (
    NAMES,
    SPECIAL,
    broken_json,
    hostile_form,
    hostile_multipart,
    unknown_field,
    value,
)

CASES = 300
JSON = "application/json"


@pytest.fixture(params=["memory"])
def database(request):
    """One store will do: bodies are judged before it is asked."""
    return request.param


@pytest.fixture
def target(api):
    """A node with one entity of each kind, which no refused request may change."""
    api.make("/services", name="s", host="h")
    api.make("/services/s/routes", name="r", paths=["/a"])
    api.make("/consumers", username="u")
    api.make("/consumers/u/key-auth", key="k")
    api.make("/plugins", name="limits", instance_name="p", config={"minute": 1})
    return api


COLLECTIONS = ("/services", "/routes", "/consumers", "/key-auths", "/plugins")
CLASSES = {
    "POST service": ("POST", "/services"),
    "POST route": ("POST", "/routes"),
    "POST consumer": ("POST", "/consumers"),
    "POST plugin": ("POST", "/plugins"),
    "POST credential": ("POST", "/consumers/u/key-auth"),
    "POST nested": ("POST", "/services/s/routes"),
    "PUT by id": ("PUT", "/services/11111111-1111-4111-8111-111111111111"),
    "PUT by key": ("PUT", "/routes/new"),
    "PATCH service": ("PATCH", "/services/s"),
    "PATCH plugin": ("PATCH", "/plugins/p"),
    "PATCH nested": ("PATCH", "/services/s/routes/r"),
    "PATCH reference": ("PATCH", "/routes/r/service"),
    "validate": ("POST", "/schemas/services/validate"),
    "validate plugin": ("POST", "/schemas/plugins/validate"),
}


def unchanged(api, before):
    return {path: api.all(path) for path in COLLECTIONS} == before


def check(api, method, path, body, content_type):
    status, answer = api.call(method, path, data=body, content_type=content_type)
    assert 400 <= status < 500, (status, answer, body[:200])
    assert answer is None or isinstance(answer["message"], str)


@pytest.mark.parametrize(("method", "path"), CLASSES.values(), ids=CLASSES)
def test_hostile_json(target, method, path):
    source = random.Random(f"{method} {path}")
    before = {collection: target.all(collection) for collection in COLLECTIONS}
    for body in SPECIAL:
        check(target, method, path, body, JSON)
    for at in range(CASES):
        body = unknown_field(source) if at % 2 else broken_json(source)
        check(target, method, path, body, JSON)
    assert unchanged(target, before)


@pytest.mark.parametrize(("method", "path"), CLASSES.values(), ids=CLASSES)
def test_hostile_forms(target, method, path):
    source = random.Random(f"form {method} {path}")
    before = {collection: target.all(collection) for collection in COLLECTIONS}
    for _ in range(CASES):
        check(target, method, path, hostile_form(source) + b"&surely-unknown=1", FORM)
    check(target, method, path, b"&".join(b"f%d=1" % at for at in range(1001)), FORM)
    assert unchanged(target, before)


@pytest.mark.parametrize(("method", "path"), CLASSES.values(), ids=CLASSES)
def test_hostile_multipart(target, method, path):
    source = random.Random(f"multipart {method} {path}")
    before = {collection: target.all(collection) for collection in COLLECTIONS}
    unknown = b'--XX\r\nContent-Disposition: form-data; name="surely-unknown"\r\n\r\n1\r\n'
    for _ in range(CASES):
        check(target, method, path, unknown + hostile_multipart(source), "multipart/form-data; boundary=XX")
    assert unchanged(target, before)


def test_no_value_of_any_field_is_a_server_error(target):
    source = random.Random(5)
    for _ in range(1500):
        method, path = source.choice(list(CLASSES.values()))
        body = {name: value(source) for name in source.sample(NAMES, source.randint(1, 4))}
        status, answer = target.call(method, path, data=json.dumps(body), content_type=JSON)
        assert status < 500, (method, path, body, answer)


@pytest.mark.parametrize("seed", range(3))
def test_no_path_or_query_is_a_server_error(target, seed):
    source = random.Random(seed)
    pieces = [
        "services",
        "routes",
        "s",
        "%00",
        "%ff",
        "%2F",
        "..",
        "",
        "a b",
        "é",
        "'",
        "default",
        "schemas",
        "plugins",
    ]
    pieces += ["tags", "consumers", "cache", "validate", "x" * 5000, "%", "%zz", "{", "<", ";"]
    for _ in range(500):
        path = "/" + "/".join(source.choices(pieces, k=source.randint(1, 5)))
        query = "".join(source.choices("sizeoftagl=&%[].,/01;", k=source.randint(0, 12)))
        named = source.choice(["", "size=", "offset=", "tags=", "custom_id="])
        method = source.choice(["GET", "PUT", "PATCH", "DELETE", "POST", "HEAD", "OPTIONS"])
        environ = {"RAW_URI": f"{path}?{named}{query}", "REQUEST_URI": path}
        answer = target.client.open("/", method=method, query_string=f"{named}{query}", environ_overrides=environ)
        assert answer.status_code < 500, (method, path, query, answer.data)
