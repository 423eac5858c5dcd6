"""Answers of endpoints that are made piece by piece: sent as they come, and cut when making one fails."""

from collections.abc import Iterator
from typing import Any

import pytest

from kong_gevent.pdk import AdminReply, Config, Endpoint, Plugin
from kong_gevent.pdk.endpoints import AdminCall
from kong_gevent.pdk.memory import MemoryStream
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.runtime.connection import Connection
from kong_gevent.runtime.listener import Listener
from kong_gevent.runtime.wsgi import WsgiRole


class Pieces(Plugin):
    """Sends some pieces; `?fail=N` fails before the piece with this number."""

    name = "pieces"
    priority = 1
    config = type("PiecesConfig", (Config,), {})

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("/pieces", {"GET": self.show})]

    def show(self, call: AdminCall) -> AdminReply:
        return AdminReply(self.made(int(call.query.get("fail", 9))), content_type="text/x-pieces")

    @staticmethod
    def made(failing: int) -> Iterator[str | bytes]:
        for number, piece in enumerate(("one", b"two", "drei")):
            if number == failing:
                raise RuntimeError("on purpose")
            yield piece


@pytest.fixture
def gateway() -> Iterator[InMemoryGateway]:
    made = InMemoryGateway(Pieces)
    yield made
    made.close()


def asked(gateway: InMemoryGateway, request: str) -> bytes:
    """What the Admin API's listener answers, and whether the connection was left as one that can be used again."""
    from kong_gevent.admin import LocalNode, PluginInfo, contributed, create_app

    facts = {
        name: PluginInfo(plugin.version, plugin.priority, type(plugin)) for name, plugin in gateway.plugins.items()
    }
    endpoints = [endpoint for plugin in gateway.plugins.values() for endpoint in plugin.endpoints()]
    node = LocalNode(gateway.settings, gateway.store, facts, gateway.kit.node_id)
    application = create_app(node, [contributed.blueprint(endpoints, "admin", AdminCall)])
    role = WsgiRole(gateway.gateway, application, 0, None)
    stream: Any = MemoryStream(request.encode())
    Connection(stream, Listener(gateway.gateway, "admin", "127.0.0.1", 8001, role), ("127.0.0.1", 5), 1).run()
    return bytes(stream.written)


def test_pieces_are_chunks(gateway: InMemoryGateway) -> None:
    head, _, body = asked(gateway, "GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"\r\nContent-Type: text/x-pieces" in head
    assert b"\r\nTransfer-Encoding: chunked" in head and b"Content-Length" not in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n4\r\ndrei\r\n0\r\n\r\n"


def test_clients_of_http_1_0_get_them_until_the_end_of_the_connection(gateway: InMemoryGateway) -> None:
    head, _, body = asked(gateway, "GET /pieces HTTP/1.0\r\nHost: a\r\n\r\n").partition(b"\r\n\r\n")
    assert (b"\r\nConnection: close" in head, body) == (True, b"onetwodrei")


def test_head_has_no_body(gateway: InMemoryGateway) -> None:
    assert asked(gateway, "HEAD /pieces HTTP/1.1\r\nHost: a\r\n\r\n").partition(b"\r\n\r\n")[2] == b""


def test_when_the_first_one_fails_the_answer_is_an_error(gateway: InMemoryGateway) -> None:
    answer = asked(gateway, "GET /pieces?fail=0 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b'{"message":"An unexpected error occurred"}')


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_when_a_later_one_fails_the_answer_is_cut(gateway: InMemoryGateway, version: str) -> None:
    answer = asked(gateway, f"GET /pieces?fail=2 HTTP/{version}\r\nHost: a\r\n\r\nGET /pieces HTTP/1.1\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"two" in answer and not answer.endswith(b"0\r\n\r\n")
