"""Multipart forms: whose names are found, and that no form takes longer than its size is worth."""

import pytest

from kong_gevent.pdk.bodies import multipart_form, parse_body
from kong_gevent.pdk.multipart import MultipartForm, boundary_of

LARGE = 1 << 20
KIND = "multipart/form-data; boundary=b"


def part(disposition: bytes, value: bytes = b"1") -> bytes:
    return b"--b\r\n%b\r\n\r\n%b\r\n" % (disposition, value)


def held(body: bytes) -> list[tuple[str | None, bytes]]:
    return [(found.name, found.content) for found in MultipartForm(b"b", body).parts]


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=b", b"b"),
        ('multipart/form-data; charset=utf-8; Boundary = "b; c=\\"d"', b'b; c="d'),
        ("multipart/form-data; xboundary=c; boundary=b", b"b"),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary=""', None),
        ("multipart/form-data", None),
        ("multipart/form-data" + "; a=b" * 1000, None),
    ],
)
def test_boundaries(kind: str, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'Content-Disposition: form-data; name="a"', "a"),
        (b"content-disposition:form-data;name=a;filename=x", "a"),
        (b'Content-Disposition: form-data; filename="; name=x"; name = "a"', "a"),
        (b'Content-Type: text/plain; name="x"\r\nContent-Disposition: form-data;\r\n name="a"', "a"),
        ('Content-Disposition: form-data; name="ü"'.encode(), "ü"),
        (b'Content-Disposition: form-data; name="\\"a\\\\"', '"a\\'),
        (b"Content-Disposition: form-data; filename=name", None),
        (b'X-Content-Disposition: form-data; name="a"', None),
    ],
)
def test_names(head: bytes, name: str | None) -> None:
    assert held(part(head) + b"--b--\r\n") == [(name, b"1")]


def test_what_only_begins_like_a_delimiter_is_a_part_of_the_value() -> None:
    body = part(b'Content-Disposition: form-data; name="a"', b"1\r\n--bc\r\n--b-\r\n--b--x") + b"--b--\r\n"
    assert held(body) == [("a", b"1\r\n--bc\r\n--b-\r\n--b--x")]
    assert MultipartForm(b"b", body).encode() == body


def test_a_name_is_changed_where_it_stands_however_it_is_written() -> None:
    head = b'X-A: ; name=x\r\nContent-Disposition: form-data; filename="f"; name = a; size=1'
    form = MultipartForm(b"b", part(head, b"; name=a") + b"--b--\r\n")
    form.rename("a", 'b"')
    assert form.encode() == part(head.replace(b"name = a", b'name = "b%22"'), b"; name=a") + b"--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        part(b'Content-Disposition: form-data; name="' + b";" * LARGE),
        part(b"Content-Disposition: form-data" + b"; " * LARGE),
        part(b"Content-Disposition: form-data;" + b"a" * LARGE + b" " * LARGE),
        part(b"Content-Disposition: form-data" + b';x="\\' * LARGE),
        part(b"Content-Disposition: form-data; name=" + b"(" * LARGE),
        part(b"Content-Disposition: form-data" + b"\r\n " * LARGE),
        part(b"Content-Disposition: " * LARGE),
        b"--b\r\n" * LARGE,
        b"\r\n--b\r\n" * LARGE,
        b"--b  " * LARGE,
    ],
    ids=[
        "open quote",
        "semicolons",
        "blanks",
        "quotes",
        "brackets",
        "lines",
        "heads",
        "parts",
        "empty parts",
        "padding",
    ],
)
def test_forms_that_are_made_to_take_long_are_read_at_once(body: bytes) -> None:
    """Were the time to grow with the square of the size, each would take minutes."""
    found = parse_body(KIND, body)
    assert found is None or len(found) <= 1
    form = multipart_form(KIND, body, 100_000)
    assert form is None or form.encode().startswith(body.removesuffix(b"\r\n"))
