"""What the machine itself knows of names: its hosts file, and who to ask according to resolv.conf."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kong_gevent.dns.answers import Address, numeric_address

RESOLV_CONF = "/etc/resolv.conf"
PORT = 53
MAX_NDOTS, MAX_TIMEOUT, MAX_ATTEMPTS = 15, 30, 5
_OPTION = re.compile(r"(ndots|timeout|attempts):(\d{1,4})\Z")


class Asking(NamedTuple):
    """Who is asked and how: `servers` as address and port; `search` domains for names with fewer than `ndots` dots.

    Each server is given up to `timeout` s in the last of `attempts` rounds, half as long in the one before it, and so
    on.
    """

    servers: Sequence[tuple[str, int]] = (("127.0.0.1", PORT),)
    search: Sequence[str] = ()
    ndots: int = 1
    timeout: float = 2.0
    attempts: int = 3
    rotate: bool = False


def read_resolv_conf(path: str = RESOLV_CONF) -> Asking:
    """What resolv.conf says (see resolv.conf(5)); without it, or without a server in it, the local one is asked."""
    servers: list[tuple[str, int]] = []
    search: list[str] = []
    asking = Asking()
    for line in _lines(path):
        words = re.split(r"[#;]", line)[0].split()
        if len(words) < 2:
            continue
        key, values = words[0], words[1:]
        if key == "nameserver":
            servers.append((values[0], PORT))
        elif key in ("search", "domain"):
            search = [domain.strip(".") for domain in values if domain.strip(".")]
        elif key == "options":
            asking = _with_options(asking, values)
    known = [(ip, port) for ip, port in servers if numeric_address(ip.partition("%")[0]) is not None]
    return asking._replace(servers=tuple(known) or asking.servers, search=tuple(search))


def _with_options(asking: Asking, options: Sequence[str]) -> Asking:
    limits = {"ndots": (0, MAX_NDOTS), "timeout": (1, MAX_TIMEOUT), "attempts": (1, MAX_ATTEMPTS)}
    for option in options:
        found = _OPTION.match(option)
        if option == "rotate":
            asking = asking._replace(rotate=True)
        elif found is not None:
            low, high = limits[found[1]]
            value = min(max(int(found[2]), low), high)
            changes: dict[str, Any] = {found[1]: value}
            asking = asking._replace(**changes)
    return asking


def server_of(text: str) -> tuple[str, int]:
    """A name server of the settings: an address, with a port if it is not 53; IPv6 with a port has brackets."""
    found = re.fullmatch(r"\[(.+)\](?::(\d+))?|([\d.]+):(\d+)", text)
    if found is None:
        return text, PORT
    return found[1] or found[3], int(found[2] or found[4] or PORT)


class Hosts:
    """A hosts file, read again when it has changed. Not for the event loop: `of` may read the file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, list[Address]] = {}

    def of(self, name: str) -> list[Address]:
        """The addresses of a name in lower case; `localhost` is known always (RFC 6761, section 6.3)."""
        stamp = None
        with suppress(OSError):
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._known = parse_hosts(self._path)
            self._stamp = stamp
        found = self._known.get(name)
        if found is None and (name == "localhost" or name.endswith(".localhost")):
            return [(int(socket.AF_INET), "127.0.0.1"), (int(socket.AF_INET6), "::1")]
        return found or []


def parse_hosts(path: str) -> dict[str, list[Address]]:
    """The names of a hosts file with their addresses in the file's order; malformed lines are skipped."""
    found: dict[str, list[Address]] = {}
    for line in _lines(path):
        words = line.partition("#")[0].split()
        address = numeric_address(words[0]) if words else None
        if address is None:
            continue
        for name in words[1:]:
            addresses = found.setdefault(name.lower().rstrip("."), [])
            if address not in addresses:
                addresses.append(address)
    return found


def _lines(path: str) -> list[str]:
    """The lines of a file; none when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []
