"""The tools of the tests themselves: the upstream tells the truth, and neither end takes what is ambiguous."""

import socket

import pytest
import requests

from tests.upstream import CLOSE, Upstream, by_path, chunked, plain, script, slow
from tests.wire import Client, Stream, WireError, read_answer, read_body, read_request_head, wait_until

GOOD = b"POST /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nhi"
AMBIGUOUS_REQUESTS = {
    "bare-lf": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "fragment": b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    "two-spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "version": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "two-lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "length-list": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
    "length-and-coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\na",
    "coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunk-extension": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a\r\n\r\n",
    "chunk-size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "chunk-end": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
}
AMBIGUOUS_ANSWERS = {
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "status": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "length-and-coding": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cr-in-value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
}


def stream_of(raw: bytes) -> Stream:
    """A stream from which these bytes and the end come."""
    near, far = socket.socketpair()
    with far:
        far.sendall(raw)
    return Stream(near)


def test_reads_a_request_with_every_field() -> None:
    stream = stream_of(GOOD)
    with stream.sock:
        request = read_request_head(stream)
        read_body(stream, request)
    assert (request.method, request.target, request.body) == ("POST", "/a?b", b"hi")
    assert request.headers == [("Host", "a"), ("X-A", "1"), ("x-a", "2"), ("Content-Length", "2")]


@pytest.mark.parametrize("raw", AMBIGUOUS_REQUESTS.values(), ids=AMBIGUOUS_REQUESTS)
def test_takes_no_ambiguous_request(raw: bytes) -> None:
    stream = stream_of(raw)
    with stream.sock, pytest.raises(WireError):
        read_body(stream, read_request_head(stream))


@pytest.mark.parametrize("raw", AMBIGUOUS_ANSWERS.values(), ids=AMBIGUOUS_ANSWERS)
def test_takes_no_ambiguous_answer(raw: bytes) -> None:
    stream = stream_of(raw)
    with stream.sock, pytest.raises(WireError):
        read_answer(stream)


@pytest.mark.parametrize(
    "raw",
    [b"Content-Length: 9\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ids=["length", "chunked"],
)
def test_an_answer_cut_short_is_seen(raw: bytes) -> None:
    stream = stream_of(b"HTTP/1.1 200 OK\r\n" + raw)
    with stream.sock:
        answer = read_answer(stream)
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", False)


def test_upstream_remembers_and_echoes(upstream: Upstream) -> None:
    upstream.clear()
    with Client(upstream.port) as client:
        client.send(GOOD + GOOD.replace(b"POST", b"PUT"))
        told = [client.answer() for _ in range(2)]
    assert [request.method for request in upstream.requests] == ["POST", "PUT"]
    assert all(b'["x-a", "2"]' in answer.body for answer in told)
    assert upstream.requests[0].connection == upstream.requests[1].connection
    assert wait_until(lambda: upstream.open == 0)


def test_upstream_keeps_what_is_no_request(upstream: Upstream) -> None:
    upstream.clear()
    with Client(upstream.port) as client:
        client.send(AMBIGUOUS_REQUESTS["two-lengths"])
        assert client.closed()
    wait_until(lambda: upstream.malformed)
    assert upstream.requests == []
    assert upstream.malformed[0][1] == AMBIGUOUS_REQUESTS["two-lengths"]


def test_upstream_tells_bodies_that_never_end(upstream: Upstream) -> None:
    upstream.clear()
    with Client(upstream.port) as client:
        client.send(GOOD[:-1])
    wait_until(lambda: upstream.aborted)
    assert (upstream.requests, upstream.malformed) == ([], [])


def test_upstream_answers_by_path_in_any_manner() -> None:
    handlers = {
        "/plain": plain(b"a", 418),
        "/slow": slow(b"abc", 0.001),
        "/chunked": chunked(b"ab", b"c", trailers=[("X-T", "1")]),
        "/cut": script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CLOSE),
    }
    with Upstream(by_path(handlers)) as upstream:
        assert requests.get(upstream.url + "/plain", timeout=5).status_code == 418
        assert requests.get(upstream.url + "/slow", timeout=5).text == "abc"
        assert requests.get(upstream.url + "/other", timeout=5).json()["target"] == "/other"
        with Client(upstream.port) as client:
            client.send(b"GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.answer()
            assert (answer.body, answer.trailers) == (b"abc", [("X-T", "1")])
            client.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not client.answer().complete
