"""WebSocket tunnels to a gevent-websocket server and to raw upstreams, with a client library and with raw bytes."""

import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

import pytest
import websocket

from tests.gateway import Gateway
from tests.integration.support import ask_once, chunks, cli, head, in_thread
from tests.integration.websockets import EchoServer
from tests.upstream import Step, Take, Upstream, answer, script
from tests.wire import Request, Stream, wait_until

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Mine: 1\r\n\r\n"


@pytest.fixture(scope="module")
def echo_server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


def connect(gateway: Gateway, path: str, **options: Any) -> websocket.WebSocket:
    """A WebSocket through the gateway."""
    url = f"ws://127.0.0.1:{gateway.proxy_port}{path}"
    return websocket.create_connection(url, timeout=30, skip_utf8_validation=True, **options)


def test_echo(gateway: Gateway, echo_server: EchoServer) -> None:
    gateway.route(echo_server.url, paths=["/ws"])
    socket = connect(gateway, "/ws/chat?a=b")
    try:
        for message in ("a", "ü" * 100, "x" * 70_000):
            socket.send(message)
            assert socket.recv() == message
        socket.ping("still there?")
        socket.send("headers")
        seen = socket.recv()
        assert "'HTTP_X_FORWARDED_PATH', '/ws/chat'" in seen
        assert f"'HTTP_HOST', '127.0.0.1:{echo_server.port}'" in seen
    finally:
        socket.close()


def test_large_messages_both_ways(gateway: Gateway, echo_server: EchoServer) -> None:
    gateway.route(echo_server.url, paths=["/large"])
    socket = connect(gateway, "/large")
    try:
        for _ in range(3):
            message = os.urandom(1 << 20)
            with in_thread(lambda message=message: socket.send_binary(message)):
                assert socket.recv() == message
    finally:
        socket.close()


def test_plugins_run_before_the_tunnel(gateway: Gateway, echo_server: EchoServer) -> None:
    route = gateway.route(echo_server.url, paths=["/guarded"])
    gateway.create(f"/routes/{route['id']}/plugins", name="key-auth")
    gateway.create("/consumers", username="ann")
    gateway.create("/consumers/ann/key-auth", key="secret")
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(gateway, "/guarded")
    assert refused.value.status_code == 401
    socket = connect(gateway, "/guarded", header={"apikey": "secret"})
    socket.send("in")
    assert socket.recv() == "in"
    socket.close()


def test_many_tunnels(gateway: Gateway, echo_server: EchoServer) -> None:
    gateway.route(echo_server.url, paths=["/many"])
    sockets = [connect(gateway, "/many") for _ in range(50)]
    for turn in range(3):
        for number, socket in enumerate(sockets):
            socket.send(f"{turn} {number}")
        for number, socket in enumerate(sockets):
            assert socket.recv() == f"{turn} {number}"
    for socket in sockets:
        socket.close()


# raw


def echo_bytes(request: Request) -> Iterable[Step]:
    """Switch protocols and send every byte back; at the client's end, say so and end."""

    def serve(stream: Stream) -> None:
        for piece in stream.rest():
            stream.sock.sendall(piece)
        stream.sock.sendall(b"<end>")

    return [SWITCHED + b"welcome", Take(serve)]


def test_half_close(gateway: Gateway, site: Any) -> None:
    """The client ends its half; what the upstream still says arrives, then its end."""
    path, upstream = site(echo_bytes)
    with gateway.client() as client:
        client.send(head("GET", path, *UPGRADE) + b"early")
        reply = client.answer()
        assert (reply.status, reply.get("upgrade"), reply.get("x-mine")) == (101, "websocket", "1")
        assert (reply.get("connection") or "").lower() == "upgrade"
        assert b"".join(client.stream.take(12)) == b"welcomeearly"
        client.send(b"more")
        assert b"".join(client.stream.take(4)) == b"more"
        client.end()
        assert b"".join(client.stream.rest()) == b"<end>"
    assert upstream.requests[0].get("connection") == "keep-alive, Upgrade"
    assert upstream.requests[0].get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="


def test_the_upstream_ends_first(gateway: Gateway, site: Any) -> None:
    taken: list[bytes] = []

    def serve(stream: Stream) -> None:
        import socket

        stream.sock.shutdown(socket.SHUT_WR)
        taken.append(b"".join(stream.rest()))

    path, _ = site(script(SWITCHED + b"bye", Take(serve)))
    with gateway.client() as client:
        client.send(head("GET", path, *UPGRADE))
        assert client.answer().status == 101
        assert b"".join(client.stream.rest()) == b"bye"
        client.send(b"last words")
        client.end()
        wait_until(lambda: taken == [b"last words"])


@pytest.mark.parametrize("timeout", [300, 1200])
def test_silence_ends_a_tunnel(gateway: Gateway, site: Any, timeout: int) -> None:
    path, upstream = site(echo_bytes, service={"read_timeout": timeout})
    with gateway.client() as client:
        client.send(head("GET", path, *UPGRADE))
        assert client.answer().status == 101
        assert b"".join(client.stream.rest()) in (b"welcome", b"welcome<end>")
    wait_until(lambda: upstream.open == 0)


def test_one_busy_direction_keeps_a_tunnel(gateway: Gateway, site: Any) -> None:
    """The client says nothing, the upstream talks on for longer than the limit: nobody is silent."""
    limit, pause = 0.6, 0.1
    longest: list[float] = []

    def serve(stream: Stream) -> None:
        pauses, last = [], monotonic()
        for _ in range(30):
            threading.Event().wait(pause)
            stream.sock.sendall(b".")
            pauses.append(monotonic() - last)
            last += pauses[-1]
        longest.append(max(pauses))

    path, _ = site(script(SWITCHED, Take(serve)), service={"read_timeout": int(limit * 1000)})

    def undisturbed() -> bool:
        """Whether all came; tried again when a loaded machine made the upstream itself pause for the limit."""
        with gateway.client() as client:
            client.send(head("GET", path, *UPGRADE))
            assert client.answer().status == 101
            received = b"".join(client.stream.rest())
        wait_until(lambda: longest, 30)
        if longest.pop() > limit / 2:
            return False
        assert received == b"." * 30
        return True

    assert any(undisturbed() for _ in range(10))


def test_a_refused_upgrade_is_passed_on(gateway: Gateway, site: Any) -> None:
    path, _ = site(script(answer(403, b"no")))
    with gateway.client() as client:
        client.send(head("GET", path, *UPGRADE))
        reply = client.answer()
        assert (reply.status, reply.body) == (403, b"no")


def test_an_upgrade_nobody_asked_for(gateway: Gateway, site: Any) -> None:
    path, _ = site(script(SWITCHED))
    assert ask_once(gateway, "GET", path).status == 502


def test_other_upgrades_are_not_passed_on(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    with gateway.client() as client:
        client.send(
            head("GET", path, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
        )
        told = json.loads(client.answer().body)
    names = {name.lower() for name, _ in told["headers"]}
    assert not names & {"upgrade", "http2-settings"}


def test_an_upgrade_before_the_end_of_the_request(gateway: Gateway, site: Any) -> None:
    """The upstream is in a hurry: it gets the body all the same, and what belongs to the tunnel after it."""
    size = 4 << 20
    gate = threading.Event()

    def switch(_request: Request) -> Iterable[Step]:
        yield SWITCHED
        gate.wait(30)

    def mirror(stream: Stream) -> None:
        while stream.buffer or stream.fill():
            stream.sock.sendall(stream.buffer)
            stream.buffer.clear()

    path, upstream = site(script(Take(mirror)), server={"early": switch})
    with gateway.client(timeout=30) as client:
        client.send(head("POST", path, *UPGRADE, "Transfer-Encoding: chunked"))
        with in_thread(lambda: client.send(chunks(*[b"x" * 65536] * (size // 65536)) + b"frame")):
            wait_until(lambda: upstream.accepted == 1)
            gate.set()
            assert client.answer().status == 101
        assert b"".join(client.stream.take(5)) == b"frame"
    assert upstream.requests[0].body == b"x" * size


def test_tunnels_are_logged(gateway: Gateway, site: Any) -> None:
    path, _ = site(echo_bytes)
    with gateway.client() as client:
        client.send(head("GET", path + "?tunnelled", *UPGRADE) + b"x")
        assert client.answer().status == 101
        client.end()
        b"".join(client.stream.rest())
    wait_until(lambda: '?tunnelled HTTP/1.1" 101 ' in gateway.log("access.log"))


# life


def test_a_tunnel_outlives_a_reload_and_delays_the_end(echo_server: EchoServer) -> None:
    with Gateway(workers=2, env={"drain_grace": "0.5", "drain_timeout": "30"}) as gateway:
        gateway.route(echo_server.url, paths=["/ws"])
        socket = connect(gateway, "/ws")
        socket.send("before")
        assert socket.recv() == "before"
        old = set(gateway.worker_pids())
        with in_thread(lambda: cli(gateway, "reload")) as reloaded:
            wait_until(lambda: len(set(gateway.worker_pids()) - old) == 2, 60)
        assert reloaded[0].returncode == 0, reloaded[0].stderr
        socket.send("after the reload")
        assert socket.recv() == "after the reload"
        socket.close()
        wait_until(lambda: not set(gateway.worker_pids()) & old, 60)
        socket = connect(gateway, "/ws")
        socket.send("new worker")
        assert socket.recv() == "new worker"
        gateway.send_signal(signal.SIGTERM)
        wait_until(lambda: not _listens(gateway), 60)
        for number in range(5):
            socket.send(f"while draining {number}")
            assert socket.recv() == f"while draining {number}"
        process = gateway.process
        assert process is not None
        assert process.poll() is None, "the node waits for its tunnel"
        socket.close()
        assert process.wait(60) == 0


def _listens(gateway: Gateway) -> bool:
    try:
        gateway.client().close()
    except OSError:
        return False
    return True


def test_a_tunnel_cannot_delay_the_end_for_ever(upstream: Upstream) -> None:
    with Gateway(env={"drain_grace": "0.2", "drain_timeout": "1"}) as gateway, Upstream(echo_bytes) as other:
        gateway.route(other.url)
        with gateway.client() as client:
            client.send(head("GET", "/", *UPGRADE))
            assert client.answer().status == 101
            assert gateway.stop() == 0
            assert '"GET / HTTP/1.1" 101 ' in gateway.log("access.log"), "it is logged like any other"
