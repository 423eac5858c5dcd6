"""Connections leave nothing behind in a worker: objects are counted, and no garbage is collected meanwhile."""

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import head, until_true
from tests.pki import Authority, server_context
from tests.upstream import Pause, Step, Take, Upstream, answer, plain, script
from tests.wire import Request, Stream

KINDS = (
    "Stream", "TlsStream", "ServerTlsStream", "ServerSide", "SSLObject", "AskingSide", "Connection", "TlsConnection",
    "Context", "Call", "ConnectionClosed", "UpstreamFailed", "traceback",
)  # fmt: skip
PLUGIN = f"""
import gc
from collections import Counter

from kong_gevent.pdk import AdminReply, Config, Endpoint, Plugin

KINDS = {KINDS!r}


class Leftovers(Plugin):
    name = "leftovers"
    priority = 1
    config = Config

    def endpoints(self):
        return [Endpoint("/leftovers", {{"GET": self.show}})]

    def show(self, call):
        gc.disable()
        kinds = [type(each) for each in gc.get_objects()]
        counted = Counter(kind.__name__ for kind in kinds if not kind.__module__.startswith("OpenSSL"))
        return AdminReply({{kind: counted[kind] for kind in KINDS}})
"""
ENTRY = "[kong_gevent.plugins]\nleftovers = leftovers:Leftovers\n"
CLIENTS = 25
LATEST = 8
"""Objects of a kind that may belong to what is under way: the question itself, who has served last."""
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
CLOSING = answer(200, b"ok", [("Connection", "close")])
RESET = struct.pack("ii", 1, 0)


def tunnel(request: Request) -> list[Step]:
    """An upgrade whose upstream sends everything back."""

    def serve(stream: Stream) -> None:
        for piece in stream.rest():
            stream.sock.sendall(piece)

    return [SWITCHED, Take(serve)]


class Node(Gateway):
    """A gateway with one worker, the plugin that counts, and routes to upstreams of several kinds."""

    tls_port: int
    context: ssl.SSLContext

    def connect(self, name: str | None) -> socket.socket:
        """A client, over TLS with a server name or in clear text."""
        sock = socket.create_connection((LOOPBACK, self.tls_port if name else self.proxy_port), 30)
        return sock if name is None else self.context.wrap_socket(sock, server_hostname=name)

    def leftovers(self) -> dict[str, int]:
        counted: dict[str, int] = self.admin("GET", "/leftovers").json()
        return counted


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    site = tmp_path_factory.mktemp("site")
    (site / "leftovers.py").write_text(PLUGIN)
    facts = site / "leftovers-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: leftovers\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(ENTRY)
    with Node(start=False, env={"plugins": "bundled,leftovers"}) as gateway:
        (gateway.tls_port,) = free_ports(1)
        gateway.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{gateway.tls_port} ssl"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(site))
            gateway.start()
        gateway.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        gateway.context.check_hostname, gateway.context.verify_mode = False, ssl.CERT_NONE
        with ExitStack() as stack:
            _fill(gateway, tmp_path_factory.mktemp("tls"), stack)
            yield gateway


def _fill(node: Node, folder: Path, stack: ExitStack) -> None:
    root = Authority("Root")
    shown = root.issue("ada")
    node.context.load_cert_chain(*shown.files(folder))
    tls = server_context(folder, shown)
    servers = {
        "/ok": Upstream(plain(b"ok")),
        "/closing": Upstream(lambda _: CLOSING),
        "/closing-tls": Upstream(lambda _: CLOSING, tls=tls),
        "/tunnel": Upstream(tunnel),
        "/tunnel-tls": Upstream(tunnel, tls=tls),
        "/slow": Upstream(script(Pause(1), CLOSING)),
        "/broken": Upstream(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    }
    for path, server in servers.items():
        node.route(stack.enter_context(server).url, paths=[path])
    (nobody,) = free_ports(1)
    node.route(f"http://{LOOPBACK}:{nobody}", paths=["/refused"])
    trusted = node.create("/ca_certificates", cert=root.cert)["id"]
    asking = node.route(servers["/ok"].url, paths=["/asks"], snis=["asks.test"])
    config = {"ca_certificates": [trusted], "skip_consumer_lookup": True}
    node.create(f"/routes/{asking['id']}/plugins", name="mtls-auth", config=config)


Visit = Callable[[socket.socket], None]


def request(path: str, status: int = 200, *lines: str, count: int = 1) -> Visit:
    def visit(sock: socket.socket) -> None:
        for _ in range(count):
            sock.sendall(head("GET", path, *lines))
            assert f" {status} ".encode() in sock.recv(65536)[:20]

    return visit


def speak(path: str) -> Visit:
    def visit(sock: socket.socket) -> None:
        request(path, 101, *UPGRADE)(sock)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"

    return visit


def say(data: bytes) -> Visit:
    """Say this and go."""
    return lambda sock: sock.sendall(data)


VISITS: dict[str, Visit] = {
    "nothing": lambda _: None,
    "kept": request("/ok", count=3),
    "close": request("/ok", 200, "Connection: close"),
    "upstream closes": request("/closing"),
    "upstream with TLS closes": request("/closing-tls"),
    "refused": request("/refused", 502),
    "broken": request("/broken", 502),
    "no route": request("/", 404),
    "tunnel": speak("/tunnel"),
    "tunnel with TLS": speak("/tunnel-tls"),
    "gone": say(head("GET", "/slow")),
    "gone in its body": say(head("POST", "/closing", "Content-Length: 100") + b"x"),
    "bad head": request("/\x01", 400),
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("name", [None, "plain.test", "asks.test"], ids=["clear", "tls", "asking"])
@pytest.mark.parametrize("visit", VISITS)
def test_nothing_is_left(node: Node, name: str | None, visit: str, end: str) -> None:
    """Also where many come at once: who has served them keeps nothing of them."""
    with node.connect(name) as sock:
        VISITS[visit](sock)
    before = _settled(node)
    with ExitStack() as stack:
        socks = [stack.enter_context(node.connect(name)) for _ in range(CLIENTS)]
        for sock in socks:
            VISITS[visit](sock)
            if end == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    left = dict(before)

    def nothing() -> bool:
        nonlocal left
        now = node.leftovers()
        left = {kind: now[kind] - before[kind] for kind in KINDS if now[kind] - before[kind] > LATEST}
        return not left

    until_true(nothing, 30)
    assert left == {}


def _settled(node: Node) -> dict[str, int]:
    """The numbers, once they have been the same a few times."""
    seen = [node.leftovers()]
    while len(seen) < 4:
        found = node.leftovers()
        seen = [*seen, found] if found == seen[-1] else [found]
    return seen[-1]
