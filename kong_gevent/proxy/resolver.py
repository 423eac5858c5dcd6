"""Names to addresses: the hosts file first, then the system's resolver in a thread, remembered for a while."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import AsyncResult

from kong_gevent.errors import GatewayError, Overloaded

Address = tuple[int, str]
"""Address family and numeric address."""


class NameNotResolved(GatewayError):
    """A host name has no address, or no resolver answers; `missing` tells the first case."""

    def __init__(self, message: str, missing: bool) -> None:
        self.missing = missing
        super().__init__(message)


class _Entry:
    __slots__ = ("addresses", "error", "expires", "loading")

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.error: NameNotResolved | None = None
        self.expires = 0.0
        self.loading: AsyncResult | None = None


class Resolver:
    """A cache of host names; times in s. Stale addresses serve while they are looked up anew, as in Kong's client."""

    def __init__(
        self,
        offload: Callable[..., Any],
        hosts_file: str = "/etc/hosts",
        valid: float = 30.0,
        stale: float = 3600.0,
        not_found: float = 30.0,
        error: float = 1.0,
        size: int = 10000,
    ) -> None:
        self._offload = offload
        self._hosts_file = hosts_file
        self._valid, self._stale, self._not_found, self._error = valid, stale, not_found, error
        self._size = size
        self._entries: dict[str, _Entry] = {}
        self._hosts: dict[str, list[Address]] = {}
        self._hosts_stamp: tuple[float, int] | None = None

    def resolve(self, host: str) -> list[Address]:
        """All addresses of `host`: the same list as long as nothing was looked up anew. Raises `NameNotResolved`."""
        entry = self._entries.get(host)
        if entry is None or not entry.addresses or entry.expires <= (now := monotonic()):
            entry = self._refresh(host, entry, monotonic() if entry is None or not entry.addresses else now)
        return entry.addresses

    def _refresh(self, host: str, entry: _Entry | None, now: float) -> _Entry:
        literal = numeric_address(host)
        if literal is not None:
            entry = _Entry()
            entry.addresses, entry.expires = [literal], float("inf")
            return self._keep(host, entry)
        if entry is None:
            entry = self._keep(host, _Entry())
        if entry.addresses and now < entry.expires + self._stale:
            if entry.loading is None:
                entry.loading = AsyncResult()
                gevent.spawn(self._load, host, entry)
            return entry
        if entry.loading is not None:
            entry.loading.get()
        elif now >= entry.expires:  # else it is known that there is none
            entry.loading = AsyncResult()
            self._load(host, entry)
        if not entry.addresses:
            error = entry.error
            raise (
                NameNotResolved(str(error), error.missing) if error else NameNotResolved(f"{host} has no address", True)
            )
        return entry

    def _keep(self, host: str, entry: _Entry) -> _Entry:
        if len(self._entries) >= self._size:
            self._entries.clear()
        self._entries[host] = entry
        return entry

    def _load(self, host: str, entry: _Entry) -> None:
        loading = entry.loading
        try:
            entry.addresses = self._offload(self._look_up, host)
            entry.error = None
            entry.expires = monotonic() + self._valid
        except NameNotResolved as error:
            if error.missing:
                entry.addresses = []
            entry.error = error
            entry.expires = monotonic() + (self._not_found if error.missing else self._error)
        except Overloaded as error:
            entry.error = NameNotResolved(str(error), missing=False)
            entry.expires = monotonic() + self._error
        finally:
            entry.loading = None
            if loading is not None:
                loading.set()

    def _look_up(self, host: str) -> list[Address]:
        """Blocking; runs in the thread pool."""
        known = self._read_hosts().get(host.lower().rstrip("."))
        if known:
            return known
        try:
            found = _getaddrinfo(host)
        except socket.gaierror as error:
            missing = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5))
            raise NameNotResolved(f"{host}: {error.strerror}", missing) from None
        except UnicodeError as error:
            raise NameNotResolved(f"{host}: {error}", missing=True) from None
        return found

    def _read_hosts(self) -> dict[str, list[Address]]:
        try:
            status = os.stat(self._hosts_file)
        except OSError:
            return {}
        stamp = (status.st_mtime, status.st_size)
        if stamp != self._hosts_stamp:
            self._hosts = parse_hosts(self._hosts_file)
            self._hosts_stamp = stamp
        return self._hosts


def _getaddrinfo(host: str) -> list[Address]:
    import _socket

    found = _socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM)
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def parse_hosts(path: str) -> dict[str, list[Address]]:
    """The names of a hosts file with their addresses, IPv4 before IPv6 in file order; malformed lines are skipped."""
    found: dict[str, list[Address]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        words = line.partition("#")[0].split()
        address = numeric_address(words[0]) if words else None
        if address is None:
            continue
        for name in words[1:]:
            found.setdefault(name.lower().rstrip("."), []).append(address)
    for addresses in found.values():
        addresses.sort(key=lambda address: address[0] != socket.AF_INET)
    return found


def numeric_address(host: str) -> Address | None:
    """`host` as an address when it is one (IPv6 with or without brackets), else None."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (int(socket.AF_INET if address.version == 4 else socket.AF_INET6), str(address))
