"""Header sections of answers: what is passed on, what never is."""

import pytest

from kong_gevent.errors import AnswerError
from kong_gevent.http.answers import AnswerFields, AnswerStyle, with_charset

STYLE = AnswerStyle(b"UTF-8", frozenset((b"x-kong-request-id",)), b"kong/3.9.1", b"kong/3.9.1")


def lines(section: bytes) -> list[bytes]:
    """The lines that a client would get."""
    return AnswerFields(section, 1, STYLE).ready.split(b"\r\n")[:-1]


def test_our_own_fields_come_behind_the_upstreams() -> None:
    assert lines(b"X-A: 1\r\nVia: 1.1 cache") == [b"X-A: 1", b"Via: 1.1 cache, 1.1 kong/3.9.1", b"Server: kong/3.9.1"]


def test_the_upstreams_server_stays() -> None:
    assert lines(b"Server: theirs") == [b"Server: theirs", b"Via: 1.1 kong/3.9.1"]


@pytest.mark.parametrize(
    "field",
    [
        b"Content_Length: 5",
        b"transfer_encoding: chunked",
        b"Keep_Alive: 5",
        b"X-Kong-Request-Id: theirs",
        b"Keep-Alive: timeout=5",
        b"Connection: X-Gone\r\nX-Gone: 1",
    ],
)
def test_fields_of_one_connection_and_their_look_alikes_are_dropped(field: bytes) -> None:
    assert lines(field) == lines(b"")


def test_set_cookie_lines_stay_apart() -> None:
    assert lines(b"Set-Cookie: a=1\r\nSet-Cookie: b=2")[:2] == [b"Set-Cookie: a=1", b"Set-Cookie: b=2"]


@pytest.mark.parametrize(
    "section",
    [
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Content-Length: +1",
        b"Transfer-Encoding: gzip, chunked",
        b"X-A: 1\r\n folded",
        b"X A: 1",
        b"X-A: a\x00b",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(section: bytes) -> None:
    with pytest.raises(AnswerError):
        AnswerFields(section, 1, STYLE)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"text/html", b"text/html; charset=UTF-8"),
        (b"text/html; charset=latin1", b"text/html; charset=latin1"),
        (b"application/json", b"application/json"),
    ],
)
def test_texts_get_a_charset(sent: bytes, told: bytes) -> None:
    assert with_charset(sent, b"UTF-8") == told
