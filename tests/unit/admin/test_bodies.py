"""Bodies: what each content type means, and that nothing broken gets past the decoder."""

import io

import orjson
import pytest

from kong_gevent.admin import bodies
from kong_gevent.admin.app import AdminRequest
from kong_gevent.errors import HttpError


def request(body=b"", **environ):
    base = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http", "SERVER_NAME": "t"}
    return AdminRequest({**base, "SERVER_PORT": "80", "CONTENT_LENGTH": str(len(body)), **environ})


KINDS = {
    "application/json": "json",
    "application/json; charset=utf-8": "json",
    "application/jsonx": "json",
    "application/x-www-form-urlencoded": "form",
    "application/x-www-form-urlencoded; charset=utf-8": "form",
    "multipart/form-data; boundary=x": "multipart",
    "application/yaml": "yaml",
    "text/yaml": "yaml",
    "Application/json": "unsupported",
    "application/JSON": "unsupported",
    " application/json": "unsupported",
    "text/plain": "unsupported",
    "application/problem+json": "unsupported",
    "": "unsupported",
}


@pytest.mark.parametrize(("content_type", "kind"), KINDS.items(), ids=lambda value: value or "absent")
def test_content_type_is_a_case_sensitive_prefix(content_type, kind):
    assert bodies.kind_of(request(b"x", CONTENT_TYPE=content_type)) == kind


def test_no_content_type_and_no_body_is_an_empty_object():
    assert bodies.kind_of(request()) == "none"


def test_a_chunked_body_without_content_type_is_unsupported():
    assert bodies.kind_of(request(CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")) == "unsupported"


NUMBERS = {
    b"5": 5,
    b"5.0": 5,
    b"5.5": 5.5,
    b"-0.0": 0,
    b"1e3": 1000,
    b"9007199254740992": 9007199254740992,
    b"-9007199254740992": -9007199254740992,
    b"9007199254740993": 9007199254740992,
    b"1e22": 1e22,
    b"123456789012345678901234567890": 1.2345678901234568e29,
}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items(), ids=lambda value: str(value)[:24])
def test_numbers_are_doubles_and_integral_ones_are_integers(text, value):
    found = bodies.parse_json(text)
    assert found == value
    assert type(found) is type(value)


BROKEN = {
    "empty": b"",
    "open": b"{",
    "rest": b"{}x",
    "single quotes": b"{'a':1}",
    "trailing comma": b'{"a":1,}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "overflow": b'{"a":1e999}',
    "invalid utf-8": b'{"a":"\xff"}',
    "overlong utf-8": b'{"a":"\xc0\xaf"}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "NUL": b'{"a":"\\u0000"}',
    "NUL in a key": b'{"a\\u0000":1}',
    "raw NUL": b'{"a":"\0"}',
    "duplicate keys": b'{"a":1,"a":2}',
    "duplicate keys by escape": b'{"a":1,"\\u0061":2}',
    "duplicate keys inside": b'{"a":[{"b":1,"b":1}]}',
    "comment": b"{} // x",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a":1}'.encode("utf-16"),
    "deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep enough": b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    "leading zero": b'{"a":01}',
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_broken_json_is_refused(raw):
    with pytest.raises(HttpError, match="Cannot parse JSON body") as refusal:
        bodies.parse_object(raw)
    assert refusal.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b"[1]", b"1", b'"a"', b"null", b"true"])
def test_a_body_has_to_be_an_object(raw):
    with pytest.raises(HttpError, match="Cannot parse JSON body"):
        bodies.parse_object(raw)


def part(name, content, content_type=None, filename=None):
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename:
        head += f'; filename="{filename}"'
    if content_type:
        head += f"\r\nContent-Type: {content_type}"
    return b"--XX\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def multipart(*parts):
    return b"".join(parts) + b"--XX--\r\n"


TYPE = "multipart/form-data; boundary=XX"


def test_multipart_follows_the_notation_of_forms():
    body = multipart(part("a.b", b"1"), part("c[]", b"x"), part("c[]", b"y"), part("d", b""))
    assert bodies.parse_multipart(body, TYPE) == {"a": {"b": "1"}, "c": ["x", "y"], "d": None}


def test_files_count_by_their_content():
    body = multipart(part("cert", b"-----BEGIN\nline\n", "application/x-pem", "c.pem"))
    assert bodies.parse_multipart(body, TYPE) == {"cert": "-----BEGIN\nline\n"}


def test_json_parts_are_parsed():
    body = multipart(part("config", b'{"a":[1,true]}', "application/json"))
    assert bodies.parse_multipart(body, TYPE) == {"config": {"a": [1, True]}}


def test_quoted_boundary():
    assert bodies.parse_multipart(multipart(part("a", b"1")), 'multipart/form-data; boundary="XX"') == {"a": "1"}


BROKEN_MULTIPART = {
    "no boundary": (multipart(part("a", b"1")), "multipart/form-data"),
    "other boundary": (multipart(part("a", b"1")), "multipart/form-data; boundary=YY"),
    "cut": (part("a", b"1")[:-5], TYPE),
    "empty": (b"", TYPE),
    "no name": (b"--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--\r\n", TYPE),
    "no disposition": (b"--XX\r\nA: b\r\n\r\n1\r\n--XX--\r\n", TYPE),
    "broken json part": (multipart(part("a", b"{", "application/json")), TYPE),
    "invalid utf-8": (multipart(part("a", b"\xff")), TYPE),
    "invalid utf-8 in the name": (multipart(b'--XX\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n'), TYPE),
    "NUL": (multipart(part("a", b"\0")), TYPE),
    "no end": (multipart(part("a", b"1"))[:-10], TYPE),
    "not even a part": (b"--XX\r\nNone--XX--\r\n", TYPE),
    "too many parts": (multipart(*[part("a", b"1")] * 1001), TYPE),
}


@pytest.mark.parametrize(("body", "content_type"), BROKEN_MULTIPART.values(), ids=BROKEN_MULTIPART)
def test_broken_multipart_is_refused(body, content_type):
    with pytest.raises(HttpError) as refusal:
        bodies.parse_multipart(body, content_type)
    assert refusal.value.status == 400


def test_a_body_up_to_the_limit_is_read():
    assert bodies.read(request(b"x" * 100), 100) == b"x" * 100


def test_a_longer_body_is_refused_before_it_is_read():
    sent = request(b"x" * 101)
    with pytest.raises(HttpError) as refusal:
        bodies.read(sent, 100)
    assert refusal.value.status == 413
    assert sent.environ["wsgi.input"].tell() == 0


def test_a_longer_chunked_body_is_refused():
    with pytest.raises(HttpError) as refusal:
        bodies.read(request(b"x" * 101, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"), 100)
    assert refusal.value.status == 413


def test_a_chunked_body_is_read_to_its_end():
    body = orjson.dumps({"a": "x" * 200_000})
    assert bodies.read(request(body, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"), 0) == body


def test_a_body_that_ends_early_is_refused():
    with pytest.raises(HttpError) as refusal:
        bodies.read(request(b"short", CONTENT_LENGTH="6"), 100)
    assert refusal.value.status == 400


@pytest.mark.parametrize("length", ["x", "-1", "1.0", "+5", "\u0665", "9" * 30])
def test_an_invalid_length_is_refused(length):
    with pytest.raises(HttpError) as refusal:
        bodies.check_length(request(CONTENT_LENGTH=length), 100)
    assert refusal.value.status == 400


def test_too_many_values():
    raw = b'{"a":[' + b"1," * bodies.MAX_VALUES + b"1]}"
    with pytest.raises(HttpError) as refusal:
        bodies.parse_object(raw)
    assert refusal.value.status == 413


def test_commas_in_texts_are_no_values():
    text = "," * 2 * bodies.MAX_VALUES
    assert bodies.parse_object(orjson.dumps({"a": text})) == {"a": text}


@pytest.mark.parametrize("kind", ["json", "form", "multipart"])
def test_large_bodies_are_decoded_alike(kind):
    text = "x" * 2 * bodies.LARGE
    raw = {
        "json": orjson.dumps({"a": text}),
        "form": b"a=" + text.encode(),
        "multipart": multipart(part("a", text.encode())),
    }[kind]
    assert bodies.decode(kind, raw, TYPE) == {"a": text}


def test_large_bodies_are_refused_alike():
    with pytest.raises(HttpError, match="Cannot parse JSON body"):
        bodies.decode("json", b"[" * 2 * bodies.LARGE, "application/json")
