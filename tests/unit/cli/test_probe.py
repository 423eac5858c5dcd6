"""Free addresses, accepting listeners, ready nodes."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from kong_gevent import conf
from kong_gevent.cli import probe
from kong_gevent.conf.listeners import Listener, parse


def listener(entry: str) -> Listener:
    return parse([entry])[0]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_busy_port_names_setting_address_and_what_to_change(taken: int) -> None:
    assert probe.busy([("proxy_listen", listener(f"127.0.0.1:{taken}"))]) == [
        f"proxy_listen: cannot listen on 127.0.0.1:{taken}: address already in use: stop the program that listens on "
        f"port {taken}, or choose another with proxy_listen or KONG_PROXY_LISTEN"
    ]


def test_any_address_conflicts_with_a_port_that_is_taken(taken: int) -> None:
    assert len(probe.busy([("proxy_listen", listener(f"0.0.0.0:{taken}"))])) == 1


def test_a_free_port_gives_no_message(taken: int) -> None:
    assert probe.busy([("proxy_listen", listener(f"127.0.0.2:{taken}"))]) == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("198.51.100.77:80", "this machine has no such address"),
        ("no-such-host.invalid:80", "the name cannot be resolved"),
    ],
)
def test_an_impossible_address_is_explained(entry: str, reason: str) -> None:
    (message,) = probe.busy([("admin_listen", listener(entry))])
    assert reason in message
    assert message.endswith("choose another with admin_listen or KONG_ADMIN_LISTEN")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("*:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("127.0.0.2:80", "http://127.0.0.2:80"),
        ("name:80", "http://name:80"),
    ],
)
def test_knows_how_to_reach_a_listener(entry: str, url: str) -> None:
    assert probe.client_url(listener(entry)) == url


class Node(BaseHTTPRequestHandler):
    """Answers every request with the status that its path asks for, or 200."""

    status = 200

    def do_GET(self) -> None:  # noqa: N802 (the base class names it)
        self.send_response(type(self).status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def node() -> Iterator[tuple[int, type[Node]]]:
    handler = type("Handler", (Node,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port, handler
        server.shutdown()
        thread.join()


def settings(**listen: str) -> conf.Settings:
    values = {"PROXY": "off", "ADMIN": "off", "STATUS": "off", **{key.upper(): value for key, value in listen.items()}}
    return conf.load("/dev/null", environ={f"KONG_{key}_LISTEN": value for key, value in values.items()})


def test_ready_when_all_answer(node: tuple[int, type[Node]]) -> None:
    address = f"127.0.0.1:{node[0]}"
    assert probe.not_ready(settings(status=address)) is None
    assert probe.not_ready(settings(admin=address)) is None
    assert probe.not_ready(settings(proxy=address)) is None


def test_not_ready_says_what_the_node_says(node: tuple[int, type[Node]]) -> None:
    node[1].status = 503
    url = f"http://127.0.0.1:{node[0]}"
    assert probe.not_ready(settings(status=f"127.0.0.1:{node[0]}")) == f"{url}/status/ready answers 503: no"


@pytest.mark.parametrize("part", ["proxy", "admin", "status"])
def test_not_ready_names_the_listener_that_is_missing(part: str, taken: int) -> None:
    reason = probe.not_ready(settings(**{part: f"127.0.0.3:{taken}"}))
    assert reason is not None
    assert f"127.0.0.3:{taken}" in reason
