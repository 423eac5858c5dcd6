"""Request bodies by media type: what plugins find in them, and taking one field out."""

from typing import Any

import pytest

from kong_gevent.pdk.bodies import is_parsable, parse_body, without_field
from kong_gevent.pdk.multipart import MultipartForm

FORM, JSON = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
MULTIPART = 'multipart/form-data; boundary="b 1"'
FILE = (
    b'--b 1\r\nContent-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: image/png\r\n\r\n\x89P\r\nG\r\n'
)
PART = b'--b 1\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
NAMED = b'Content-Type: text/x\nCONTENT-DISPOSITION:form-data;\n filename="\\"; name=x"; name="a;\\b"'


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        (FORM, b"a=1&b=%C3%BC+x&a=2&c", {"a": ["1", "2"], "b": "ü x", "c": True}),
        (FORM.upper(), b"a=1", {"a": "1"}),
        (FORM, b"", {}),
        (JSON, b'{"a": [1, null]}', {"a": [1, None]}),
        (JSON, b"[1]", [1]),
        (JSON, b"7", None),
        (JSON, b"{", None),
        (JSON, b"\xff", None),
        (JSON, b"[" * 100_000, None),
        (JSON, b'{"a": "\\u00fc \\ud83d\\ude00"}', {"a": "ü 😀"}),
        (JSON, b'{"a": "\\ud800"}', None),
        (JSON, b'{"\\uDC00x": 1}', None),
        (JSON, b'{"a": "\\\\ud800"}', {"a": "\\ud800"}),
        (MULTIPART, PART % (b"a", b"\xff") + b"--b 1--\r\n", {"a": "\ufffd"}),
        (MULTIPART, PART % (b"a", b"1") + PART % (b"a", b"2") + b"--b 1--\r\n", {"a": ["1", "2"]}),
        (MULTIPART, b"nothing", None),
        (MULTIPART, PART % (b"a", b"1") * 999 + b"--b 1--\r\n", {"a": ["1"] * 999}),
        (MULTIPART, PART % (b"a", b"1") * 1000 + b"--b 1--\r\n", None),
        (f"multipart/form-data{';(' * 4000}", b"", None),
        ('multipart/form-data; a="; boundary=x"; Boundary=b', b"--b\r\n" + NAMED + b"\r\n\r\n1\r\n--b--", {"a;b": "1"}),
        ("multipart/form-data; boundary=", PART % (b"a", b"1"), None),
        ("text/plain", b"a=1", None),
        ("", b"a=1", None),
    ],
)
def test_bodies_are_decoded_by_their_type(kind: str, body: bytes, value: Any) -> None:
    assert parse_body(kind, body) == value


@pytest.mark.parametrize("kind", ["text/plain", "", "application/jsonp", "application/octet-stream"])
def test_other_types_are_not_worth_reading(kind: str) -> None:
    assert not is_parsable(kind)


@pytest.mark.parametrize(
    ("kind", "body", "left"),
    [
        (FORM, b"x=1&k=2&y=%20&k", b"x=1&y=%20"),
        (FORM, b"x=1&%6b=2", b"x=1"),
        (FORM, b"x=1", b"x=1"),
        (JSON, b'{"k": 1, "x": 2}', b'{"x":2}'),
        (JSON, b'{"x":  2}', b'{"x":  2}'),
        (JSON, b'["k"]', b'["k"]'),
        (JSON, b"{", b"{"),
        (JSON, b'{"k": 1, "x": "\\ud800"}', b'{"x":"\\ud800"}'),
        (MULTIPART, FILE + PART % (b"k", b"1") + b"--b 1--\r\n", FILE + b"--b 1--\r\n"),
        (MULTIPART, PART % (b"k", b"1") + FILE + b"--b 1--\r\n", FILE + b"--b 1--\r\n"),
        (MULTIPART, FILE + b"--b 1--\r\n", FILE + b"--b 1--\r\n"),
        ("multipart/form-data", FILE, FILE),
        ("text/plain", b"k=1", b"k=1"),
    ],
)
def test_a_field_is_taken_out_and_the_rest_keeps_its_bytes(kind: str, body: bytes, left: bytes) -> None:
    assert without_field(kind, body, "k") == left


END = b"--b 1--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        (PART % (b"k", b"1") + PART % (b"x", b"2") + END).replace(b"\r\n", b"\n"),
        (PART % (b"k", b"1") + PART % (b"x", b"2") + END).replace(b"\r\n", b"\r"),
        PART % (b"x", b"2\n--b 1\r\ncontent-disposition: form-data; name=k\r\n\r\n1") + END,
        b"--b 1 \t\n" + (PART % (b"k", b"1"))[7:] + PART % (b"x", b"2") + END,
        b"a preamble\n" + PART % (b"k", b"1") + PART % (b"x", b"2") + END,
        b"--b 1\r\n" + PART % (b"k", b"1") + PART % (b"x", b"2") + END,
    ],
    ids=["line feeds", "carriage returns", "one line feed", "blanks", "preamble", "nothing first"],
)
def test_what_is_found_in_a_form_can_be_taken_out_however_its_lines_end(body: bytes) -> None:
    assert parse_body(MULTIPART, body) == {"k": "1", "x": "2"}
    left = without_field(MULTIPART, body, "k")
    assert parse_body(MULTIPART, left) == {"x": "2"}
    assert b"1" not in left.replace(b"b 1", b"")


def test_what_only_looks_like_a_delimiter_is_content() -> None:
    body = PART % (b"k", b"1\r\n--b 12\r\n--b 1 x\r\nx--b 1") + PART % (b"x", b"2") + END
    form = MultipartForm(b"b 1", body)
    assert form.encode() == body
    form.remove("k")
    assert form.encode() == PART % (b"x", b"2") + END
