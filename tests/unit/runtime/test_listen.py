"""Listening sockets get the options of their settings, and a reload changes only what changed."""

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kong_gevent import conf
from kong_gevent.conf.listeners import parse
from kong_gevent.errors import ConfigurationError
from kong_gevent.runtime import listen


def opened(entry: str) -> socket.socket:
    return listen.open_one("proxy_listen", parse([entry])[0])


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_sets_keep_alive_with_its_numbers(port: int) -> None:
    with opened(f"127.0.0.1:{port} so_keepalive=10m::3") as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 600
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


@pytest.mark.parametrize(("flag", "value"), [("on", 1), ("off", 0)])
def test_switches_keep_alive(port: int, flag: str, value: int) -> None:
    with opened(f"127.0.0.1:{port} so_keepalive={flag}") as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == value


def test_defers_when_asked_to(port: int) -> None:
    with opened(f"127.0.0.1:{port} deferred") as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0


@pytest.mark.parametrize(("flag", "value"), [("", 1), (" ipv6only=on", 1), (" ipv6only=off", 0)])
def test_ipv6_is_alone_unless_told_otherwise(port: int, flag: str, value: int) -> None:
    # Bound only: nobody can connect to an address that is not listened on.
    with listen.open_one("proxy_listen", parse([f"[::]:{port}{flag}"])[0], listen=False) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == value


def test_both_families_share_a_port(port: int) -> None:
    with opened(f"127.0.0.1:{port}"), opened(f"[::1]:{port}"):
        pass


def test_opens_all_or_none(port: int) -> None:
    settings = load(f"127.0.0.1:{port}, 198.51.100.77:{port}, 198.51.100.78:{port}")
    with pytest.raises(ConfigurationError) as caught:
        listen.open_all(settings)
    assert len(caught.value.messages) == 2
    with opened(f"127.0.0.1:{port}"):
        pass


def load(proxy: str) -> conf.Settings:
    return conf.load(
        "/dev/null",
        environ={"KONG_PROXY_LISTEN": proxy, "KONG_ADMIN_LISTEN": "off", "KONG_STATUS_LISTEN": "off"},
    )


class Server:
    """As much of gunicorn's arbiter as matters here."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.LISTENERS: list[Any] = sockets
        self.log = logging.getLogger("test.listen")
        self.cfg = type("Config", (), {"reuse_port": False, "is_ssl": False, "backlog": 5})()


@pytest.fixture
def server(port: int) -> Iterator[Server]:
    made = Server([opened(f"127.0.0.1:{port}")])
    yield made
    for listener in made.LISTENERS:
        listener.close()


def addresses(server: Server) -> list[tuple[str, int]]:
    return [listener.getsockname()[:2] for listener in server.LISTENERS]


def test_an_unchanged_listener_stays_the_same_socket(server: Server, port: int) -> None:
    (before,) = server.LISTENERS
    listen.exchange(server, load(f"127.0.0.1:{port}, 127.0.0.2:{port}"))
    assert server.LISTENERS[0] is before
    assert addresses(server) == [("127.0.0.1", port), ("127.0.0.2", port)]


def test_one_that_is_not_wanted_any_more_is_closed(server: Server, port: int) -> None:
    (before,) = server.LISTENERS
    listen.exchange(server, load(f"127.0.0.2:{port}"))
    assert addresses(server) == [("127.0.0.2", port)]
    assert before.fileno() == -1


def test_one_that_cannot_be_had_is_logged_and_left_out(
    server: Server, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    listen.exchange(server, load(f"127.0.0.1:{port}, 198.51.100.77:{port}"))
    assert addresses(server) == [("127.0.0.1", port)]
    assert "proxy_listen: cannot listen on 198.51.100.77" in caplog.text


def test_without_any_that_can_be_had_the_old_ones_stay(
    server: Server, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    listen.exchange(server, load(f"198.51.100.77:{port}"))
    assert addresses(server) == [("127.0.0.1", port)]
    assert "the old ones stay" in caplog.text
