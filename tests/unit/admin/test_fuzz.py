"""Hostile bodies: every one is refused with a 4xx, none is a 5xx, and none leaves anything behind."""

import json
import random
import string

import orjson
import pytest

from tests.unit.admin.api import FORM

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
NAMES = (
    "id name host port path protocol protocols retries tags enabled service route consumer config url hosts paths "
    "headers methods username custom_id key ttl created_at sources regex_priority client_certificate ca_certificates "
    "redis minute rules policy redis_host key_names"
).split()
ODD_TEXTS = [
    "",
    " ",
    "\u202e",
    "\ufeff",
    "a" * 70_000,
    "../..",
    "{vault://x/y}",
    "é" * 10,
    "\U0001f600",
    "~/(a+)+$",
    "[]",
]
ODD_NUMBERS = [0, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**30, 1e308, -1e308, 5e-324, 0.1]


def value(source, depth=0):
    """Any JSON value, odd ones preferred."""
    kind = source.randrange(9 if depth < 4 else 5)
    if kind == 0:
        return source.choice(ODD_TEXTS)
    if kind == 1:
        return source.choice(ODD_NUMBERS)
    if kind == 2:
        return source.choice([None, True, False])
    if kind in (3, 4):
        return "".join(source.choices(string.printable, k=source.randint(0, 12)))
    if kind in (5, 6):
        return [value(source, depth + 1) for _ in range(source.randint(0, 4))]
    return {source.choice([*NAMES, "", "x", "@entity"]): value(source, depth + 1) for _ in range(source.randint(0, 4))}


def unknown_field(source):
    """An object with a field that nothing knows: it decodes, and the schema has to refuse it."""
    body = {name: value(source) for name in source.sample(NAMES, source.randint(0, 6))}
    body["surely-unknown"] = value(source)
    return json.dumps(body).encode()


def broken_json(source):
    """JSON with a wound."""
    text = bytearray(b'{"host":"h","name":"a","tags":["x"],"config":{"a":1}}')
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(text))
        wound = source.randrange(4)
        if wound == 0:
            del text[at:]
            text += b"\0"
        elif wound == 1:
            text[at] = source.choice(b"\x00\xff\xc0\x80")
        elif wound == 2:
            text[at:at] = b"\xed\xa0\x80"
        else:
            text[at:at] = source.choice([b"}}", b"NaN,", b'"\\ud800"', b"\x01"])
    return bytes(text) + b"\xff"


SPECIAL = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"1e999",
    b'{"host":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"x":' * 5000 + b"1" + b"}" * 5000,
    b'{"host":"a","host":"b"}',
    b'{"host":"a\\u0000b"}',
    b'{"name":"\\ud83d"}',
    b'{"surely-unknown":' + b"9" * 5000 + b"}",
    b'{"surely-unknown":-' + b"9" * 400 + b"." + b"9" * 400 + b"}",
    b'{"surely-unknown":[' + b"1," * 10_000 + b"1]}",
    b"{" + b",".join(b'"k%d":1' % at for at in range(2000)) + b"}",
    b'{"tags":' + orjson.dumps(["a,b"] * 2000) + b"}",
    b'{"__proto__":{},"constructor":1,"__class__":"x"}',
]


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


def hostile_form(source):
    letters = "ab.[]=&%1éx\0+;" + string.digits
    name = "".join(source.choices(letters, k=source.randint(1, 20)))
    text = "&".join([name, f"{source.choice(NAMES)}{source.choice(['', '[]', '[1]', '.a', '[a]'])}={name[:5]}"])
    return source.choice([text.encode(), text.encode("latin-1", "replace"), b"%ff=1&" + text.encode()])


@pytest.mark.parametrize(("method", "path"), CLASSES.values(), ids=CLASSES)
def test_hostile_forms(target, method, path):
    source = random.Random(f"form {method} {path}")
    before = {collection: target.all(collection) for collection in COLLECTIONS}
    for _ in range(CASES):
        check(target, method, path, hostile_form(source) + b"&surely-unknown=1", FORM)
    check(target, method, path, b"&".join(b"f%d=1" % at for at in range(1001)), FORM)
    assert unchanged(target, before)


def hostile_multipart(source):
    parts = []
    for _ in range(source.randint(1, 3)):
        head = source.choice(
            [
                b'Content-Disposition: form-data; name="surely-unknown"',
                b'Content-Disposition: form-data; name="a[b.c][1]"; filename="x"\r\nContent-Type: application/json',
                b"Content-Disposition: form-data",
                b'Content-Disposition: attachment; name="x',
                b"X: y",
                b"",
            ]
        )
        parts.append(b"--XX\r\n" + head + b"\r\n\r\n" + source.randbytes(source.randint(0, 20)) + b"\r\n")
    return b"".join(parts) + source.choice([b"--XX--\r\n", b"--XX", b""])


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
