"""What a body's way can hold in store: 100-continue, refusals, interim and early answers, ends that come too soon."""

import socket
import struct
from collections.abc import Iterable, Iterator
from time import sleep
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, blocks, chunks, head, in_thread
from tests.upstream import CLOSE, RESET, Pause, Step, Take, answer, script
from tests.wire import Client, Request, Stream, WireError, wait_until

# Expect: 100-continue


def test_100_continue_comes_before_the_body(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 3", "Expect: 100-continue"))
        assert client.stream.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        client.send(b"abc")
        assert client.answer().status == 200
        assert ask(client, "GET", path).status == 200
    assert upstream.requests[0].body == b"abc"
    assert upstream.requests[0].get("expect") is None, "we have answered it"


def test_100_continue_for_a_large_streamed_body(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client(timeout=30) as client:
        client.send(head("PUT", path, f"Content-Length: {2 * MIB}", "Expect: 100-continue"))
        assert client.stream.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        client.send(b"x" * 2 * MIB)
        assert client.answer().status == 200
    assert upstream.requests[0].size == 2 * MIB


def test_a_refusal_comes_instead_of_100(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    route = gateway.admin("GET", "/routes?size=1000").json()["data"]
    (mine,) = [entry["id"] for entry in route if entry["paths"] == [path]]
    gateway.create(f"/routes/{mine}/plugins", name="key-auth")
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 30000000", "Expect: 100-continue"))
        reply = client.answer()
        assert (reply.status, reply.interim) == (401, [])
        assert client.closed(), "the body can never be told from a next request"
    assert upstream.accepted == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_client_max_body_size(make_gateway: Any, make_upstream: Any, framing: str) -> None:
    gateway, upstream = make_gateway(env={"nginx_http_client_max_body_size": "1k"}), make_upstream()
    gateway.route(upstream.url, request_buffering=False)
    with gateway.client() as client:
        assert ask(client, "POST", "/", body=b"x" * 1024).status == 200
        if framing == "length":
            client.send(head("POST", "/", "Content-Length: 1025", "Expect: 100-continue", "Accept: application/json"))
        else:
            client.send(head("POST", "/", "Transfer-Encoding: chunked") + chunks(b"x" * 600, b"y" * 600))
        reply = client.answer()
        assert (reply.status, reply.interim) == (413, [])
        assert b"Payload too large" in reply.body
        assert client.closed()
    assert [request.size for request in upstream.requests] == [1024]


# interim and early answers


def test_early_hints_are_passed_on(gateway: Gateway, site: Any) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    path, _ = site(script(b"HTTP/1.1 100 Continue\r\n\r\n", hints, Pause(0.05), hints + answer(200, b"body")))
    with gateway.client() as client:
        reply = ask(client, "GET", path)
        assert [(one.status, one.get("link")) for one in reply.interim] == [(103, "</a.css>; rel=preload")] * 2
        assert reply.body == b"body"
        assert ask(client, "GET", path).status == 200
        old = ask(client, "GET", path, version="1.0")
        assert (old.status, old.interim) == (200, [])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [20_000, 16 * MIB])
def test_an_answer_in_the_middle_of_an_upload(gateway: Gateway, site: Any, framing: str, size: int) -> None:
    """The upstream refuses after the head and closes without reading; the client sees the refusal, not an error."""
    refusal = answer(413, b"too big", [("Connection", "close")], "Payload Too Large")
    path, _ = site(server={"early": lambda request: [refusal, CLOSE]}, request_buffering=False)
    with gateway.client(timeout=30) as client:
        lines = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {size}"
        client.send(head("POST", path, lines))
        with in_thread(lambda: _send_much(client, size, framing)):
            reply = client.answer()
            assert (reply.status, reply.body) == (413, b"too big")
            if size > MIB:
                assert "close" in (reply.get("connection") or ""), "the rest of the body is not read"
                assert client.closed()


def test_an_upload_that_breaks_off_is_not_sent_again(gateway: Gateway, site: Any) -> None:
    """The upstream takes a part of the body and resets the connection: there is no second half to try again with."""

    def take_some(stream: Stream) -> None:
        for _ in stream.take(100_000):
            pass
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    path, upstream = site(server={"early": lambda request: [Take(take_some)]}, service={"retries": 5})
    for _ in range(5):
        with gateway.client(timeout=30) as client:
            client.send(head("PUT", path, f"Content-Length: {16 * MIB}"))
            sleep(0.05)  # so that the gateway has read the head without any of the body
            with in_thread(lambda client=client: _send_much(client, 16 * MIB, "length")):
                reply = client.answer()
                assert reply.status == 502
                assert client.closed()
    assert upstream.accepted == 5


def _send_much(client: Client, size: int, framing: str) -> None:
    body = b"x" * size
    client.send(chunks(body) if framing == "chunked" else body)


def test_an_answer_before_the_upload_ends_and_the_upload_goes_on(gateway: Gateway, site: Any) -> None:
    """The client has its answer while its upload still runs, as from an upstream of its own."""
    path, _ = site(server={"early": lambda request: [answer(200, b"enough")]}, request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 1000") + b"x" * 10)
        assert client.answer().body == b"enough"


@pytest.fixture(scope="module")
def reader() -> Iterator[Gateway]:
    """A node that reads rather large bodies before it calls the upstream."""
    with Gateway(env={"client_body_buffer_size": "32m"}) as node:
        yield node


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([answer(413, b"no", reason="Payload Too Large"), CLOSE], 413),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB), *blocks(MIB, 64 * MIB)], 200),
    ],
    ids=["refusal", "both-ways"],
)
def test_an_answer_while_a_body_that_was_read_before_is_sent(
    reader: Gateway, make_upstream: Any, steps: list[Step], status: int
) -> None:
    """The upstream does not wait for the body, and need not be able to take it before its answer is taken."""
    upstream = make_upstream(early=lambda request: steps)
    path = f"/read{status}"
    reader.route(upstream.url, paths=[path])
    with reader.client(timeout=30) as client:
        client.send(head("PUT", path, f"Content-Length: {16 * MIB}", "Connection: close"))
        with in_thread(lambda: client.send(b"x" * 16 * MIB)):
            reply = client.answer()
    assert (reply.status, reply.complete) == (status, True)
    assert upstream.accepted == 1


# endings


def test_an_answer_arrives_whole_though_the_client_goes_on_sending(gateway: Gateway, site: Any) -> None:
    """What is left unread when a connection is closed would reset it, and the end of the answer were lost."""
    body = bytes(range(256)) * 1200
    path, _ = site(script(answer(200, body)))
    with gateway.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        client.send(head("GET", path + "?goes-on", "Connection: close") + b"x" * 100_000)
        wait_until(lambda: _logged(gateway, "goes-on"))
        client.end()
        reply = client.answer()
    assert (reply.body == body, reply.complete) == (True, True)


@pytest.mark.parametrize(
    "steps",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", CLOSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", RESET),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000, CLOSE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", CLOSE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", CLOSE),
    ],
    ids=["length", "reset", "large", "chunked", "bad-chunk"],
)
def test_a_cut_answer_is_seen_to_be_cut(gateway: Gateway, site: Any, steps: tuple[Step, ...]) -> None:
    path, _ = site(script(*steps))
    with gateway.client() as client:
        client.send(head("GET", path))
        try:
            reply = client.answer()
        except WireError:
            return  # the reset overtook the head
        assert reply.status == 200
        assert not reply.complete
    assert gateway.get("/nowhere").status_code == 404, "the gateway serves on"


@pytest.mark.parametrize("behind", [0, 100_000])
def test_a_cut_answer_takes_none_of_the_earlier_ones_along(gateway: Gateway, site: Any, behind: int) -> None:
    """The first is still on its way to the client when the second breaks off."""
    body = bytes(range(256)) * 1200

    def respond(request: Request) -> Iterable[Step]:
        yield from [answer(200, body)] if request.target == "/whole" else [answer(200, body)[:200], CLOSE]

    path, _ = site(respond)
    with gateway.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        client.send(head("GET", path + "/whole") + head("GET", path + "/cut?cut-later") + b"x" * behind)
        wait_until(lambda: _logged(gateway, "cut-later"))
        client.end()
        first, second = client.answer(), client.answer()
    assert (first.complete, first.body == body) == (True, True)
    assert (second.status, second.complete) == (200, False)


def big_answer(request: Request) -> Iterable[Step]:
    """64 MiB."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB)
    yield from blocks(MIB, 64 * MIB)


def test_client_leaves_during_the_download(gateway: Gateway, site: Any) -> None:
    """The upstream's connection ends too, and the access log says 499."""
    path, upstream = site(big_answer)
    with gateway.client() as client:
        client.send(head("GET", path + "?leaves-download"))
        client.stream.fill()
    wait_until(lambda: upstream.open == 0)
    wait_until(lambda: _logged(gateway, "leaves-download").endswith(" 499"))


def test_client_leaves_during_the_upload(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path + "?leaves-upload", "Content-Length: 100000") + b"x" * 1000)
        wait_until(lambda: upstream.accepted == 1)
    wait_until(lambda: upstream.aborted)
    wait_until(lambda: _logged(gateway, "leaves-upload").endswith(" 499"))
    assert upstream.requests == []


def _logged(gateway: Gateway, mark: str) -> str:
    """Request line and status of the access log's line with this mark."""
    for line in gateway.log("access.log").splitlines():
        if mark in line:
            return line.partition('"')[2].rpartition('" ')[0].partition('" ')[0] + " " + line.split('" ')[1].split()[0]
    return ""
