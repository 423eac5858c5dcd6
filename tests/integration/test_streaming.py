"""Bodies in both directions: flat memory with a slow side, framing, trailers, 100-continue, ranges, early answers."""

import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from time import sleep
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, blocks, chunks, head, in_thread, resident
from tests.upstream import CLOSE, RESET, Pause, Step, Take, Upstream, answer, by_path, chunked, echo, plain, script
from tests.wire import Client, Ended, Request, Stream, WireError, read_answer, wait_until

TOTAL = 64 * MIB
BLOCK = 256 << 10
GROWTH = 8 * MIB
"""What a transfer may add to a worker's memory: buffers, pipes and the allocator's slack, not the body."""
TEXT = bytes(range(33, 123))


def big_answer(framing: str) -> Callable[[Request], Iterable[Step]]:
    """64 MiB, with a length, in chunks, or until the connection closes."""

    def steps(request: Request) -> Iterable[Step]:
        lines = {"length": f"Content-Length: {TOTAL}", "chunked": "Transfer-Encoding: chunked", "close": "Connection: close"}
        yield f"HTTP/1.1 200 OK\r\n{lines[framing]}\r\n\r\n".encode()
        for block in blocks(BLOCK, TOTAL):
            yield b"%x\r\n%b\r\n" % (len(block), block) if framing == "chunked" else block
        yield b"0\r\n\r\n" if framing == "chunked" else b""
        if framing == "close":
            yield CLOSE

    return steps


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_download_to_a_slow_client_is_flat(gateway: Gateway, site: Any, framing: str) -> None:
    """The client takes the first MiB and stops: back-pressure holds the upstream, then everything arrives."""
    path, _ = site(big_answer(framing))
    (pid,) = gateway.worker_pids()
    with gateway.client(timeout=60) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        before = resident(pid)
        client.send(head("GET", path, "Connection: close"))
        client.stream.fill()
        for _ in range(20):
            sleep(0.02)  # the upstream goes on as far as it is allowed to
            assert resident(pid) - before < GROWTH
        reply = client.answer()
        assert reply.complete
        assert reply.size == TOTAL
        assert resident(pid) - before < GROWTH


@pytest.mark.parametrize("chunked_body", [False, True])
@pytest.mark.parametrize("buffering", [False, True])
def test_upload_to_a_slow_upstream_is_flat(gateway: Gateway, site: Any, chunked_body: bool, buffering: bool) -> None:
    """The upstream pauses before it reads the body: the client is held back, and nothing is lost."""
    gate = threading.Event()

    def hold(request: Request) -> None:
        gate.wait(30)

    path, upstream = site(plain(b"got it"), server={"early": hold}, request_buffering=buffering)
    (pid,) = gateway.worker_pids()
    with gateway.client(timeout=60) as client:
        before = resident(pid)
        framing = "Transfer-Encoding: chunked" if chunked_body else f"Content-Length: {TOTAL}"
        client.send(head("POST", path, framing, "Connection: close"))
        sender = threading.Thread(target=_send_blocks, args=(client, chunked_body), daemon=True)
        sender.start()
        for _ in range(20):
            sleep(0.02)
            assert resident(pid) - before < GROWTH
        assert sender.is_alive(), "64 MiB went nowhere"
        gate.set()
        reply = client.answer()
        assert (reply.status, reply.body) == (200, b"got it")
        sender.join(30)
        assert resident(pid) - before < GROWTH
    assert upstream.requests[-1].size == TOTAL


def _send_blocks(client: Client, chunked_body: bool) -> None:
    for block in blocks(BLOCK, TOTAL):
        client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked_body else block)
    if chunked_body:
        client.send(b"0\r\n\r\n")


def test_both_ways_at_once(gateway: Gateway, site: Any) -> None:
    """An upstream that answers each block as it comes: neither side waits for the end of the other."""

    def mirror(request: Request) -> Iterable[Step]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
        yield Take(_mirror)

    def _mirror(stream: Stream) -> None:
        for piece in stream.take(300_000):
            stream.sock.sendall(piece)

    path, _ = site(server={"early": mirror}, request_buffering=False)
    body = TEXT * 3334
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 300000", "Connection: close"))
        client.send(body[:1000])
        reply = read_answer_head(client.stream)
        assert b" 200 " in reply
        received = b"".join(client.stream.take(1000))
        for start in range(1000, 300_000, 59_800):
            client.send(body[start : start + 59_800])
            received += b"".join(client.stream.take(59_800))
        assert received == body[:300_000]


def read_answer_head(stream: Stream) -> bytes:
    """The next head, whatever it says."""
    return stream.until(b"\r\n\r\n")


# framing


def test_chunked_both_ways(gateway: Gateway, site: Any) -> None:
    path, upstream = site(chunked(b"one", b"two" * 10_000, b"three"), request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path, "Transfer-Encoding: chunked") + chunks(b"a" * 70_000, b"b"))
        reply = client.answer()
        assert reply.framing == "chunked"
        assert reply.body == b"one" + b"two" * 10_000 + b"three"
        received = upstream.requests[-1]
        assert (received.framing, received.size) == ("chunked", 70_001)
        assert ask(client, "GET", path).status == 200, "the connection goes on"


def test_small_chunked_upload_is_sent_with_a_length(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    with gateway.client() as client:
        client.send(head("POST", path, "Transfer-Encoding: chunked") + chunks(b"ab", b"c"))
        assert client.answer().status == 200
    assert (upstream.requests[-1].framing, upstream.requests[-1].body) == ("length", b"abc")


def test_without_request_buffering_the_upload_is_passed_on_as_it_comes(gateway: Gateway, site: Any) -> None:
    seen = threading.Event()
    path, upstream = site(server={"early": lambda request: seen.set()}, request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 6") + b"abc")
        assert seen.wait(10), "the upstream should have the head before the client has sent everything"
        client.send(b"def")
        assert client.answer().status == 200
    assert upstream.requests[-1].body == b"abcdef"


def test_with_request_buffering_a_small_body_is_read_before_the_upstream_is_called(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=True)
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 6") + b"abc")
        sleep(0.3)
        assert upstream.accepted == 0
        client.send(b"def")
        assert client.answer().status == 200


@pytest.mark.parametrize("wants", [True, False])
def test_trailers_of_the_answer(gateway: Gateway, site: Any, wants: bool) -> None:
    path, upstream = site(chunked(b"body", trailers=[("X-Checksum", "abc"), ("Content-Length", "7")]))
    with gateway.client() as client:
        reply = ask(client, "GET", path, *(["TE: trailers", "Connection: TE"] if wants else []))
        assert reply.body == b"body"
        assert reply.trailers == ([("X-Checksum", "abc")] if wants else [])
        assert ask(client, "GET", path).complete
    assert upstream.requests[0].get("te") == ("trailers" if wants else None)


def test_trailers_of_the_request(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path, "Transfer-Encoding: chunked", "Trailer: X-Sum"))
        client.send(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil.test\r\n\r\n")
        assert client.answer().status == 200
    assert upstream.requests[-1].trailers == [("X-Sum", "1")]


def test_head(gateway: Gateway, site: Any) -> None:
    path, upstream = site(plain(b"hello"))
    with gateway.client() as client:
        reply = ask(client, "HEAD", path)
        assert (reply.status, reply.get("content-length"), reply.body) == (200, "5", b"")
        assert ask(client, "GET", path).body == b"hello"
        missing = ask(client, "HEAD", "/nowhere")
        assert (missing.status, missing.body) == (404, b"")
        assert ask(client, "GET", path).body == b"hello"
    assert [request.method for request in upstream.requests] == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(gateway: Gateway, site: Any, status: int) -> None:
    path, _ = site(script(answer(status, headers=[("ETag", '"x"')])))
    with gateway.client() as client:
        for _ in range(2):
            reply = ask(client, "GET", path)
            assert (reply.status, reply.get("etag"), reply.body) == (status, '"x"', b"")
            assert reply.get("transfer-encoding") is None


def test_an_answer_that_ends_with_its_connection(gateway: Gateway, site: Any) -> None:
    """Its body may come long after its head."""
    path, _ = site(script(b"HTTP/1.1 200 OK\r\n\r\n", Pause(0.3), b"late", Pause(0.1), b"r", CLOSE))
    with gateway.client() as client:
        assert ask(client, "GET", path).body == b"later"
        assert ask(client, "GET", path, version="1.0").body == b"later"


# Expect: 100-continue


def test_100_continue_comes_before_the_body(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 3", "Expect: 100-continue"))
        assert read_answer_head(client.stream) == b"HTTP/1.1 100 Continue"
        client.send(b"abc")
        assert client.answer().status == 200
        assert ask(client, "GET", path).status == 200
    assert upstream.requests[0].body == b"abc"
    assert upstream.requests[0].get("expect") is None, "we have answered it"


def test_100_continue_for_a_large_streamed_body(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client(timeout=30) as client:
        client.send(head("PUT", path, f"Content-Length: {2 * MIB}", "Expect: 100-continue"))
        assert read_answer_head(client.stream) == b"HTTP/1.1 100 Continue"
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


# endings


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


def test_client_leaves_during_the_download(gateway: Gateway, site: Any) -> None:
    """The upstream's connection ends too, and the access log says 499."""
    path, upstream = site(big_answer("length"))
    with gateway.client() as client:
        client.send(head("GET", path + "?leaves-download"))
        client.stream.fill()
    wait_until(lambda: upstream.open == 0, 20)
    wait_until(lambda: _logged(gateway, "leaves-download").endswith(" 499"), 20)


def test_client_leaves_during_the_upload(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client() as client:
        client.send(head("POST", path + "?leaves-upload", "Content-Length: 100000") + b"x" * 1000)
        wait_until(lambda: upstream.accepted == 1)
    wait_until(lambda: upstream.aborted, 20)
    wait_until(lambda: _logged(gateway, "leaves-upload").endswith(" 499"), 20)
    assert upstream.requests == []


def _logged(gateway: Gateway, mark: str) -> str:
    """Request line and status of the access log's line with this mark."""
    for line in gateway.log("access.log").splitlines():
        if mark in line:
            return line.partition('"')[2].rpartition('" ')[0].partition('" ')[0] + " " + line.split('" ')[1].split()[0]
    return ""


def test_client_that_half_closes_still_gets_its_answer(gateway: Gateway, site: Any) -> None:
    path, _ = site(script(Pause(0.3), answer(200, b"late")))
    with gateway.client() as client:
        client.send(head("GET", path))
        client.end()
        assert client.answer().body == b"late"
        assert client.closed()


def test_ranges_pass_through(gateway: Gateway, site: Any) -> None:
    def ranged(request: Request) -> bytes:
        first, _, last = (request.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")
        part = TEXT[int(first) : int(last or len(TEXT) - 1) + 1]
        return answer(206, part, [("Content-Range", f"bytes {first}-{last}/{len(TEXT)}")], "Partial Content")

    path, _ = site(ranged)
    with gateway.client() as client:
        reply = ask(client, "GET", path, "Range: bytes=10-19")
        assert (reply.status, reply.body, reply.get("content-range")) == (206, TEXT[10:20], f"bytes 10-19/{len(TEXT)}")


def test_bytes_are_the_same_in_every_framing(gateway: Gateway, site: Any) -> None:
    """Bodies around the sizes at which another way of copying is chosen."""
    bodies = {f"/{size}": TEXT * (size // len(TEXT)) + TEXT[: size % len(TEXT)] for size in SIZES}
    handlers = {path: plain(body) for path, body in bodies.items()}
    handlers |= {f"{path}c": chunked(*[part for part in (body[:100], body[100:]) if part]) for path, body in bodies.items()}
    path, upstream = site(by_path(handlers, echo))
    with gateway.client(timeout=30) as client:
        for target, body in bodies.items():
            assert _digest(ask(client, "GET", path + target).body) == _digest(body)
            assert _digest(ask(client, "GET", path + target + "c").body) == _digest(body)
            assert ask(client, "PUT", path, body=body).status == 200
            assert _digest(upstream.requests[-1].body) == _digest(body)
            client.send(head("PUT", path, "Transfer-Encoding: chunked") + chunks(*([body] if body else [])))
            assert client.answer().status == 200
            assert _digest(upstream.requests[-1].body) == _digest(body)


SIZES = [0, 1, 100, 8191, 8192, 8193, 16_384, 65_535, 65_536, 65_537, 131_072, 262_145, 1_000_000]


def _digest(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def test_reading_helpers_notice_a_cut() -> None:
    """The tests above rely on this: an incomplete answer is not taken for a complete one."""
    left, right = socket.socketpair()
    with left, right:
        right.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        right.shutdown(socket.SHUT_WR)
        assert not read_answer(Stream(left)).complete
        with pytest.raises(Ended):
            read_answer(Stream(left))


def test_upstream_stands_for_itself() -> None:
    with Upstream(plain(b"direct")) as upstream, Client(upstream.port) as client:
        assert ask(client, "GET", "/").body == b"direct"
