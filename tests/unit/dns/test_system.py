"""The hosts file, resolv.conf, and whom a client asks for how long by them."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.dns.client import Client
from kong_gevent.dns.system import Asking, Hosts, parse_hosts, read_resolv_conf, server_of

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)

HOSTS = """\
# a comment
127.0.0.1   localhost
10.0.0.1    api.test API   # both names, in any case
10.0.0.2    api.test api.test
::1         api.test
10.0.0.300  bad.test
10.0.0.3
  10.0.0.4\tindented.test.
"""


def test_a_hosts_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(HOSTS)
    known = parse_hosts(str(file))
    assert known == {
        "localhost": [(V4, "127.0.0.1")],
        "api.test": [(V4, "10.0.0.1"), (V4, "10.0.0.2"), (V6, "::1")],
        "api": [(V4, "10.0.0.1")],
        "indented.test": [(V4, "10.0.0.4")],
    }


def test_octets_that_are_no_text_cost_their_line_only(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_bytes(b"\xff\xfe nonsense\n10.0.0.1 \xc3\xbc.test\n10.0.0.2 good.test\n")
    assert parse_hosts(str(file))["good.test"] == [(V4, "10.0.0.2")]


def test_a_hosts_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    hosts = Hosts(str(file))
    assert hosts.of("a.test") == []
    file.write_text("10.0.0.1 a.test\n")
    assert hosts.of("a.test") == [(V4, "10.0.0.1")]
    status = file.stat()
    file.write_text("10.0.0.22 a.test\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hosts.of("a.test") == [(V4, "10.0.0.22")], "another size will do"
    file.unlink()
    assert hosts.of("a.test") == []


def test_localhost_needs_no_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    hosts = Hosts(str(file))
    assert hosts.of("localhost") == hosts.of("app.localhost") == [(V4, "127.0.0.1"), (V6, "::1")]
    assert hosts.of("notlocalhost") == []
    file.write_text("10.0.0.1 localhost\n")
    assert hosts.of("localhost") == [(V4, "10.0.0.1")]


RESOLV_CONF: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("", {}),
    "servers": (
        "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\n",
        {"servers": (("10.0.0.1", 53), ("fe80::1%eth0", 53), ("::1", 53))},
    ),
    "no address": (
        "nameserver dns.test\nnameserver\nnameserver 10.0.0.2 # the second\n",
        {"servers": (("10.0.0.2", 53),)},
    ),
    "only names": ("nameserver dns.test\n", {}),
    "search": ("search a.test b.test. .\n", {"search": ("a.test", "b.test")}),
    "the last of search and domain counts": ("search a.test\ndomain b.test\n", {"search": ("b.test",)}),
    "comments": ("; options ndots:3\n# search x.test\noptions ndots:2 # options ndots:4\n", {"ndots": 2}),
    "options": (
        "options ndots:5 timeout:7 attempts:2 rotate edns0 trust-ad\n",
        {"ndots": 5, "timeout": 7, "attempts": 2, "rotate": True},
    ),
    "several lines of options": ("options ndots:5\noptions rotate\n", {"ndots": 5, "rotate": True}),
    "too much": ("options ndots:99 timeout:999 attempts:50\n", {"ndots": 15, "timeout": 30, "attempts": 5}),
    "too little": ("options ndots:0 timeout:0 attempts:0\n", {"ndots": 0, "timeout": 1, "attempts": 1}),
    "no numbers": ("options ndots: timeout:x attempts:-1 ndots:1x\n", {}),
}


@pytest.mark.parametrize("name", RESOLV_CONF)
def test_resolv_conf(tmp_path: Path, name: str) -> None:
    text, changes = RESOLV_CONF[name]
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert read_resolv_conf(str(file)) == Asking()._replace(**changes)


def test_without_resolv_conf_the_local_server_is_asked(tmp_path: Path) -> None:
    assert read_resolv_conf(str(tmp_path / "none")).servers == (("127.0.0.1", 53),)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[fe80::1]:5353", ("fe80::1", 5353)),
    ],
)
def test_servers_of_the_settings(text: str, server: tuple[str, int]) -> None:
    assert server_of(text) == server


@pytest.mark.parametrize(
    ("name", "ndots", "candidates"),
    [
        ("api", 1, ["api.a.test.", "api.b.test.", "api."]),
        ("api.x", 1, ["api.x.", "api.x.a.test.", "api.x.b.test."]),
        ("api.x", 2, ["api.x.a.test.", "api.x.b.test.", "api.x."]),
        ("api", 0, ["api.", "api.a.test.", "api.b.test."]),
        ("api.x.", 5, ["api.x."]),
    ],
)
def test_what_a_name_may_stand_for(name: str, ndots: int, candidates: list[str]) -> None:
    client = Client(Asking(search=("a.test", "b.test"), ndots=ndots))
    assert client.candidates(name) == candidates


ONE, TWO, THREE = servers = [(f"10.0.0.{number}", 53) for number in (1, 2, 3)]


def test_each_server_gets_a_short_while_and_then_longer_ones() -> None:
    client = Client(Asking(servers=(ONE, TWO), timeout=2, attempts=3))
    tries = [(ONE, 0.5), (TWO, 0.5), (ONE, 1), (TWO, 1), (ONE, 2), (TWO, 2)]
    assert list(client._tries()) == tries
    assert list(client._tries()) == tries


def test_the_one_that_answered_last_is_asked_first() -> None:
    client = Client(Asking(servers=tuple(servers), attempts=1))
    assert next(client._tries())[0] == ONE
    client._failed(ONE)
    assert [server for server, _ in client._tries()] == [TWO, THREE, ONE]
    client._failed(ONE)  # somebody who has asked it before that
    assert next(client._tries())[0] == TWO


def test_they_take_turns_where_that_is_wanted() -> None:
    client = Client(Asking(servers=tuple(servers), attempts=1, rotate=True))
    assert [next(client._tries())[0] for _ in range(4)] == [TWO, THREE, ONE, TWO]
