"""Connections to upstreams that are kept: used again when that is safe, never with bytes that are not asked for."""

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, head
from tests.upstream import CLOSE, Step, Take, Upstream, answer, script
from tests.wire import Request, Stream


def answer_and_end(stream: Stream) -> None:
    """The answer and the end of the connection come together, and nothing has announced the end."""
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    stream.sock.sendall(answer(200, b"ok"))
    stream.sock.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_ended_with_its_answer_is_not_used_again(gateway: Gateway, site: Any, method: str) -> None:
    """Both requests are here already, so that the loop has no turn in which it could tell of the end."""
    path, upstream = site(script(Take(answer_and_end)))
    with gateway.client() as client:
        client.send(head(method, path, "Content-Length: 2") + b"ab" + head(method, path, "Content-Length: 2") + b"cd")
        assert [client.answer().status for _ in range(2)] == [200, 200]
    assert [request.body for request in upstream.requests] == [b"ab", b"cd"]


@pytest.mark.parametrize("extra", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"])
def test_a_large_answer_is_followed_by_nothing_or_the_connection_ends(
    gateway: Gateway, site: Any, extra: bytes
) -> None:
    def respond(request: Request) -> bytes:
        return answer(200, b"x" * MIB) + extra if request.target == "/large" else answer(200, b"good")

    path, upstream = site(respond)
    with gateway.client() as client:
        client.send((head("GET", path + "/large") + head("GET", path + "/next")) * 5)
        bodies = [client.answer().body for _ in range(10)]
    assert bodies[1::2] == [b"good"] * 5
    assert {len(body) for body in bodies[::2]} == {MIB}
    assert (upstream.accepted == 1) == (not extra)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_a_body_that_must_not_be_is_never_the_next_answer(gateway: Gateway, site: Any, reply: bytes) -> None:
    """It comes later than its head, after the next request has been sent on."""
    empty, _, body = reply.partition(b"\r\n\r\n")

    def respond(request: Request) -> bytes | Iterable[Step]:
        if request.target == "/next" and request.connection == 1:
            return body + answer(200, b"good")
        return empty + b"\r\n\r\n" if request.target == "/empty" else answer(200, b"good")

    path, _ = site(respond)
    with gateway.client() as client:
        assert ask(client, "GET", path + "/empty").status == 204
        assert ask(client, "GET", path + "/next").body == b"good"


def test_a_connection_that_dies_says_nothing_about_its_peer(
    gateway: Gateway, make_upstream: Callable[..., Upstream]
) -> None:
    """The request goes to the same peer once more, as the hash wants it."""

    def server(name: bytes) -> Upstream:
        used: set[int] = set()

        def respond(request: Request) -> Iterable[Step]:
            known = request.connection in used
            used.add(request.connection)
            yield CLOSE if known else answer(200, name)

        return make_upstream(respond)

    servers = [server(name) for name in (b"a", b"b", b"c", b"d")]
    gateway.create(
        "/upstreams", name="pool.test", algorithm="consistent-hashing", hash_on="header", hash_on_header="X-K"
    )
    for each in servers:
        gateway.create("/upstreams/pool.test/targets", target=each.url.removeprefix("http://"))
    gateway.route("http://pool.test", paths=["/pool"], service={"retries": 5})
    with gateway.client() as client:
        bodies = [ask(client, "GET", "/pool", "X-K: one").body for _ in range(10)]
    assert len(set(bodies)) == 1
