"""WebSocket tunnels with TLS on either side or both: half-closed ends, silence, reload and the end of a node."""

import signal
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websocket

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import ask_everybody, cli, head, in_thread
from tests.integration.test_tls_upstreams import Authority
from tests.integration.test_websocket import SWITCHED, UPGRADE, echo_bytes
from tests.integration.websockets import EchoServer
from tests.upstream import Step, Take, Upstream, script
from tests.wire import Client, Request, Stream, wait_until

MARK = b"<end>"


class SecureSocket:
    """A client's TLS that can end its own half alone, which `ssl.SSLSocket` cannot."""

    def __init__(self, sock: Any, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=LOOPBACK)
        self._until_done(self._tls.do_handshake)
        self.ended_well = False

    def _until_done(self, step: Any) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())

    def recv(self, size: int) -> bytes:
        """As a socket's; `ended_well` tells whether the end was announced."""
        try:
            data = self._until_done(lambda: self._tls.read(size))
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLEOFError:
            return b""
        self.ended_well = not data
        return data  # type: ignore[no-any-return]

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        self._tls.write(data)
        self._flush()

    def shutdown(self, how: int) -> None:
        """Announce the end of this half, and end it."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other half goes on
        self._flush()
        self._sock.shutdown(how)

    def close(self) -> None:
        """As a socket's."""
        self._sock.close()


class SecureClient(Client):
    """A client over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port, timeout=60)
        self.secure = SecureSocket(self.sock, context)
        self.sock = self.secure  # type: ignore[assignment]
        self.stream = Stream(self.sock)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.root))


class Node(Gateway):
    """A gateway with a TLS listener that shows the authority's certificate."""

    def __init__(self, authority: Authority, **options: Any) -> None:
        super().__init__(start=False, **options)
        (self.secure_port,) = free_ports(1)
        self.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{self.secure_port} ssl"
        self.settings["KONG_SSL_CERT"] = str(authority.server)
        self.settings["KONG_SSL_CERT_KEY"] = str(authority.server.with_suffix(".key"))
        self.start()


@pytest.fixture(scope="module", params=["silent", "asking"])
def gateway(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Node]:
    """A node, and one that asks clients for a certificate, which they need not show."""
    with Node(authority) as node:
        if request.param == "asking":
            ask_everybody(node, node.create("/ca_certificates", cert=authority.root.read_text())["id"])
        yield node


def tunnel(node: Node, path: str, trusting: ssl.SSLContext | None) -> Client:
    """A client with a tunnel, over TLS if it trusts somebody."""
    client = node.client(timeout=60) if trusting is None else SecureClient(node.secure_port, trusting)
    client.send(head("GET", path, *UPGRADE))
    assert client.answer().status == 101
    return client


@pytest.fixture(params=[(False, True), (True, False), (True, True)], ids=["ws-wss", "wss-ws", "wss-wss"])
def way(
    request: pytest.FixtureRequest, gateway: Node, site: Any, authority: Authority, trusting: ssl.SSLContext
) -> Any:
    """``client, upstream = way(respond)``: a tunnel with TLS on one side or both."""
    outside, inside = request.param
    with ExitStack() as stack:

        def open_one(respond: Any, **options: Any) -> tuple[Client, Upstream]:
            server = {"tls": authority.context(authority.server)} if inside else {}
            path, upstream = site(respond, server=server, **options)
            return stack.enter_context(tunnel(gateway, path, trusting if outside else None)), upstream

        yield open_one


def ended_well(client: Client) -> bool:
    """Whether the end was announced, where TLS can."""
    return client.secure.ended_well if isinstance(client, SecureClient) else True


def test_the_client_ends_its_half(way: Any) -> None:
    """What the upstream still says arrives, then its end."""
    client, _ = way(echo_bytes)
    assert b"".join(client.stream.take(7)) == b"welcome"
    words = bytes(range(256)) * 64
    for _ in range(16):
        speak(client, words)
    client.end()
    assert b"".join(client.stream.rest()) == MARK
    assert ended_well(client)


def test_the_upstream_ends_its_half(way: Any) -> None:
    """Its end is announced to the client, which may still speak, and then the client's end to it."""
    taken: list[bytes] = []

    def serve(stream: Stream) -> None:
        sock = stream.sock
        sock.sendall(b"bye")
        if isinstance(sock, ssl.SSLSocket):
            stream.sock = sock.unwrap()  # announces the end and waits until the other one is; it cannot read any more
            taken.append(b"")
        else:
            sock.shutdown(socket.SHUT_WR)
            taken.append(b"".join(stream.rest()))

    client, upstream = way(script(SWITCHED, Take(serve)))
    assert b"".join(client.stream.rest()) == b"bye"
    assert ended_well(client)
    words = b"" if upstream.tls else b"last words"
    if words:
        client.send(words)
    client.end()
    wait_until(lambda: taken, 30)
    assert taken == [words]


def test_silence_ends_it(way: Any) -> None:
    client, upstream = way(echo_bytes, service={"read_timeout": 700})
    assert b"".join(client.stream.rest()) in (b"welcome", b"welcome" + MARK)
    assert ended_well(client)
    wait_until(lambda: upstream.open == 0, 30)


def test_either_direction_keeps_it(way: Any) -> None:
    """The client is silent for longer than the limit, the upstream is not: the tunnel stays."""
    end = threading.Event()

    def serve(stream: Stream) -> None:
        while not end.wait(0.1):
            stream.sock.sendall(b".")
        stream.sock.sendall(MARK)

    client, _ = way(script(SWITCHED, Take(serve)), service={"read_timeout": 3000})
    try:
        assert b"".join(client.stream.take(40)) == b"." * 40
    finally:
        end.set()
    assert b"".join(client.stream.rest()).endswith(MARK)


def test_messages_through_a_library(gateway: Node, authority: Authority) -> None:
    with EchoServer() as server:
        gateway.route(server.url, paths=["/library"])
        peer = websocket.create_connection(
            f"wss://{LOOPBACK}:{gateway.secure_port}/library", sslopt={"ca_certs": str(authority.root)}, timeout=30
        )
        for text in ("a", "ü" * 10_000, "x" * 300_000):
            peer.send(text)
            assert peer.recv() == text
        peer.close()


def test_an_upstream_whose_certificate_does_not_count(
    gateway: Node, site: Any, authority: Authority, trusting: ssl.SSLContext
) -> None:
    server = {"tls": authority.context(authority.other)}
    path, upstream = site(echo_bytes, server=server, service={"tls_verify": True})
    with SecureClient(gateway.secure_port, trusting) as client:
        client.send(head("GET", path, *UPGRADE))
        assert client.answer().status == 502
    assert not upstream.requests


# life


def echoes(request: Request) -> Iterable[Step]:
    """A tunnel that gives every byte back."""

    def serve(stream: Stream) -> None:
        for piece in stream.rest():
            stream.sock.sendall(piece)

    return [SWITCHED, Take(serve)]


def speak(client: Client, word: bytes) -> None:
    """Send a word and get it back."""
    client.send(word)
    assert b"".join(client.stream.take(len(word))) == word


def test_a_tunnel_outlives_a_reload_and_delays_the_end(authority: Authority, trusting: ssl.SSLContext) -> None:
    settings = {"drain_grace": "0.5", "drain_timeout": "60"}
    with (
        Upstream(echoes, tls=authority.context(authority.server)) as upstream,
        Node(authority, workers=2, env=settings) as node,
    ):
        node.route(upstream.url)
        old = set(node.worker_pids())
        first = tunnel(node, "/", trusting)
        speak(first, b"before")
        with in_thread(lambda: cli(node, "reload")) as reloaded:
            wait_until(lambda: len(set(node.worker_pids()) - old) == 2, 60)
            speak(first, b"while an old worker finishes")
        assert reloaded[0].returncode == 0, reloaded[0].stderr
        first.close()
        wait_until(lambda: not old & set(node.worker_pids()), 60)
        with tunnel(node, "/", trusting) as second:
            speak(second, b"a new worker")
            node.send_signal(signal.SIGTERM)
            wait_until(lambda: not _accepts(node), 60)
            speak(second, b"while the node ends")
            assert node.process is not None
            assert node.process.poll() is None, "the node waits for its tunnel"
            second.end()
            assert b"".join(second.stream.rest()) == b""
            assert node.process.wait(60) == 0


def test_a_tunnel_that_goes_on_is_cut(authority: Authority, trusting: ssl.SSLContext) -> None:
    """After `drain_timeout` a node that leaves ends its tunnels."""
    settings = {"drain_grace": "0.2", "drain_timeout": "1"}
    with (
        Upstream(echoes, tls=authority.context(authority.server)) as upstream,
        Node(authority, env=settings) as node,
        ExitStack() as stack,
    ):
        node.route(upstream.url)
        client = stack.enter_context(tunnel(node, "/", trusting))
        speak(client, b"before")
        node.send_signal(signal.SIGTERM)
        assert b"".join(client.stream.rest()) == b""
        assert node.process is not None
        assert node.process.wait(60) == 0
        wait_until(lambda: upstream.open == 0, 30)


def _accepts(node: Node) -> bool:
    try:
        node.client().close()
    except OSError:
        return False
    return True


def test_tunnels_are_logged_with_what_passed(gateway: Node, site: Any, trusting: ssl.SSLContext) -> None:
    path, _ = site(echo_bytes)
    with tunnel(gateway, f"{path}?over-tls", trusting) as client:
        client.end()
        b"".join(client.stream.rest())
    wait_until(lambda: '?over-tls HTTP/1.1" 101 ' in gateway.log("access.log"), 30)
