"""The resolver as that of gevent's event loop: what any library of a worker looks up goes the same way."""

from __future__ import annotations

import _socket
import socket
from typing import Any

from gevent import get_hub

from kong_gevent.dns.answers import NameNotResolved, numeric_address
from kong_gevent.dns.resolver import Resolver

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_PASSIVE


class HubResolver:
    """gevent's interface of a resolver; what has nothing to do with names of hosts is left to the one it replaces."""

    def __init__(self, names: Resolver, other: Any) -> None:
        self._names = names
        self._other = other

    def close(self) -> None:
        """Called when the event loop ends."""
        self._other.close()

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, socktype: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """As `socket.getaddrinfo`. Raises `socket.gaierror`."""
        name = host.decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else host
        if not name or flags & _NUMERIC or numeric_address(name) is not None or "%" in name:
            return _socket.getaddrinfo(host, port, family, socktype, proto, flags)
        found: list[Any] = []
        for kind, ip in self._look(name):
            if family in (0, kind):
                rest = flags & ~(socket.AI_CANONNAME | socket.AI_ADDRCONFIG)
                found += _socket.getaddrinfo(ip, port, kind, socktype, proto, rest | socket.AI_NUMERICHOST)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{name} has no address of this family")
        if flags & socket.AI_CANONNAME:
            found[0] = (*found[0][:3], name, found[0][4])
        return found

    def _look(self, name: str) -> list[tuple[int, str]]:
        try:
            return self._names.addresses(name)
        except NameNotResolved as error:
            raise socket.gaierror(socket.EAI_NONAME if error.missing else socket.EAI_AGAIN, str(error)) from None

    def gethostbyname(self, hostname: Any, family: int = socket.AF_INET) -> str:
        """As `socket.gethostbyname`."""
        address: str = self.getaddrinfo(hostname, 0, family, socket.SOCK_STREAM)[0][4][0]
        return address

    def gethostbyname_ex(self, hostname: Any, family: int = socket.AF_INET) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyname_ex`."""
        found = self.getaddrinfo(hostname, 0, family, socket.SOCK_STREAM)
        return str(hostname), [], [each[4][0] for each in found]

    def __getattr__(self, name: str) -> Any:
        """Reverse look-ups."""
        return getattr(self._other, name)


def install(names: Resolver) -> None:
    """Have this event loop resolve names here."""
    hub = get_hub()
    current = hub.resolver
    hub.resolver = HubResolver(names, current._other if isinstance(current, HubResolver) else current)
