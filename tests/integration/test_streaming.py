"""Bodies in both directions: flat memory with a slow side, framing, trailers, 100-continue, ranges, early answers."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterable
from time import sleep
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, blocks, chunks, head, resident
from tests.upstream import CLOSE, Pause, Step, Take, Upstream, answer, by_path, chunked, echo, plain, script
from tests.wire import Client, Ended, Request, Stream, read_answer

TOTAL = 64 * MIB
BLOCK = 256 << 10
GROWTH = 8 * MIB
"""What a transfer may add to a worker's memory: buffers, pipes and the allocator's slack, not the body."""
TEXT = bytes(range(33, 123))


def big_answer(framing: str) -> Callable[[Request], Iterable[Step]]:
    """64 MiB, with a length, in chunks, or until the connection closes."""

    def steps(request: Request) -> Iterable[Step]:
        lines = {
            "length": f"Content-Length: {TOTAL}",
            "chunked": "Transfer-Encoding: chunked",
            "close": "Connection: close",
        }
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
    handlers |= {
        f"{path}c": chunked(*[part for part in (body[:100], body[100:]) if part]) for path, body in bodies.items()
    }
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
