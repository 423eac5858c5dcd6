"""The `*_listen` settings: addresses with flags, in Kong's syntax and in the form that `GET /` shows."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_SOCKET_FLAGS = (
    "bind",
    "reuseport",
    "backlog=%d+",
    "ipv6only=on",
    "ipv6only=off",
    "so_keepalive=on",
    "so_keepalive=off",
    "so_keepalive=%w*:%w*:%d*",
)
HTTP_FLAGS = ("ssl", "http2", "proxy_protocol", "deferred", *_SOCKET_FLAGS)
"""Flags of HTTP listeners, spelt as Kong spells them in messages and in the keys of `GET /`."""
STREAM_FLAGS = ("udp", "ssl", "proxy_protocol", *_SOCKET_FLAGS)
_PATTERNS = {
    "backlog=%d+": re.compile(r"backlog=[0-9]{1,9}"),
    "so_keepalive=%w*:%w*:%d*": re.compile(r"so_keepalive=\w*:\w*:\d*", re.ASCII),
}
_NAME = re.compile(r"(?:\*|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)\Z")
_DEFAULT_BACKLOG = 16384


@dataclass(frozen=True, slots=True)
class Listener:
    """One address that the gateway listens on."""

    ip: str
    """Host as Kong shows it: an address (IPv6 in full and in brackets), a name, or `*`."""
    port: int
    ssl: bool = False
    http2: bool = False
    proxy_protocol: bool = False
    deferred: bool = False
    bind: bool = False
    reuseport: bool = False
    backlog: int = _DEFAULT_BACKLOG
    ipv6only: bool | None = None
    so_keepalive: str | None = None
    listener: str = ""
    """The whole entry in normal form (without `http2`, as Kong leaves it out)."""
    flags: dict[str, bool] = field(default_factory=dict, compare=False)
    """Every flag that the syntax knows, with its value in the name where it has one, and whether it was given."""

    @property
    def host(self) -> str:
        """What to give to the socket functions: no brackets, `0.0.0.0` for `*`."""
        if self.ip == "*":
            return "0.0.0.0"
        return self.ip[1:-1] if self.ip.startswith("[") else self.ip

    @property
    def address(self) -> str:
        """`host:port` as gunicorn's `bind` and people write it, IPv6 shortened and in brackets."""
        host = f"[{ipaddress.ip_address(self.host)}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def as_dict(self) -> dict[str, Any]:
        """The entry as Kong's `GET /` shows it."""
        return {"listener": self.listener, "ip": self.ip, "port": self.port, **self.flags}


def usage(flags: Sequence[str] = HTTP_FLAGS) -> str:
    """The second half of Kong's message about a malformed entry."""
    return f"must be of form: [off] | <ip>:<port> [{'] ['.join(flags)}], [... next entry ...]"


def parse(entries: Sequence[str], flags: Sequence[str] = HTTP_FLAGS) -> list[Listener]:
    """Read the entries of one setting; `off` as the first gives none. Raises ValueError with the usage text."""
    if not entries:
        raise ValueError(usage(flags))
    if entries[0].strip() == "off":
        return []
    return [_entry(entry, flags) for entry in entries]


def _entry(entry: str, known: Sequence[str]) -> Listener:
    words = entry.split()
    if not words:
        raise ValueError(usage(known))
    host, port = _address(words[0], known)
    rest = words[1:]
    given: dict[str, bool] = {}
    for flag in known:
        pattern = _PATTERNS.get(flag)
        found = [word for word in rest if (pattern.fullmatch(word) if pattern else word == flag)]
        rest = [word for word in rest if word not in found]
        if len(set(found)) > 1:
            raise ValueError(usage(known))
        given[found[0] if found else flag] = bool(found)
    if rest:
        raise ValueError(usage(known))
    return _build(host, port, given)


def _build(host: str, port: int, given: dict[str, bool]) -> Listener:
    valued = dict(name.split("=", 1) for name, on in given.items() if on and "=" in name)
    text = " ".join([f"{host}:{port}", *(name for name, on in given.items() if on and name != "http2")])
    return Listener(
        ip=host,
        port=port,
        ssl=given.get("ssl", False),
        http2=given.get("http2", False),
        proxy_protocol=given.get("proxy_protocol", False),
        deferred=given.get("deferred", False),
        bind=given.get("bind", False),
        reuseport=given.get("reuseport", False),
        backlog=int(valued.get("backlog", _DEFAULT_BACKLOG)),
        ipv6only=valued["ipv6only"] == "on" if "ipv6only" in valued else None,
        so_keepalive=valued.get("so_keepalive"),
        listener=text,
        flags=given,
    )


def _address(text: str, known: Sequence[str]) -> tuple[str, int]:
    """Split `host:port`; the host comes back in Kong's normal form."""
    host, colon, digits = text.rpartition(":")
    if not (colon and host and digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 65535):
        raise ValueError(usage(known))
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        looks_numeric = host.replace(".", "").isdigit()
        if bracketed or ":" in host or looks_numeric or not _NAME.match(host):
            raise ValueError(usage(known)) from None
        return host, int(digits)
    if bracketed != (address.version == 6):
        raise ValueError(usage(known))
    return (f"[{address.exploded}]" if address.version == 6 else str(address)), int(digits)
