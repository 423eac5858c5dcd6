"""Listening sockets: opened with the options of their settings, handed to gunicorn, exchanged at a reload.

gunicorn opens sockets itself when it is given addresses, but knows one backlog and no other option, and at a reload
with other addresses closes and reopens all of them, which fails while old workers hold the unchanged ones.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import ConfigurationError

if TYPE_CHECKING:
    from kong_gevent.conf import Listener, Settings

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
UNSENT = 512 << 10
"""Bytes of an answer that the kernel takes ahead of what has been sent, for each connection."""
Address = tuple[str, int]


def wanted(settings: Settings) -> Iterator[tuple[str, Listener]]:
    """Every listener with the name of its setting."""
    for name in ("proxy_listen", "admin_listen", "status_listen", "classic_admin_listen"):
        for listener in getattr(settings, f"{name}ers"):
            yield name, listener


def open_all(settings: Settings) -> list[socket.socket]:
    """Open every listener. Raises ConfigurationError with a line for each that cannot be had; none is open then."""
    opened: list[socket.socket] = []
    problems: list[str] = []
    for name, listener in wanted(settings):
        try:
            opened.append(open_one(name, listener))
        except ConfigurationError as error:
            problems += error.messages
    if problems:
        for sock in opened:
            sock.close()
        raise ConfigurationError(problems)
    return opened


def open_one(name: str, listener: Listener, listen: bool = True) -> socket.socket:
    """Bind one listener of the setting `name`, and listen. Raises ConfigurationError saying what to change."""
    family, address = resolve(name, listener)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        _set_options(sock, listener)
        sock.bind(address)
        if listen:
            sock.listen(listener.backlog)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"{name}: cannot listen on {listener.address}: {_reason(error, listener.port)} {_change(name)}"
        ) from error
    return sock


def resolve(name: str, listener: Listener) -> tuple[socket.AddressFamily, Address]:
    """Family and numeric address of a listener. Raises ConfigurationError when its name has none."""
    try:
        found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        reason = f"the name cannot be resolved ({error.strerror});"
        raise ConfigurationError(f"{name}: cannot listen on {listener.address}: {reason} {_change(name)}") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _set_options(sock: socket.socket, listener: Listener) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # As in nginx, [::] does not take the IPv4 address of that port along unless told to.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listener.ipv6only is not False))
    if listener.deferred and hasattr(socket, "TCP_DEFER_ACCEPT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    # Inherited by the connections: what a client that does not read can make the kernel keep for it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    if listener.so_keepalive is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(listener.so_keepalive != "off"))
        for option, seconds in _keepalive(listener.so_keepalive):
            sock.setsockopt(socket.IPPROTO_TCP, option, seconds)


def _keepalive(text: str) -> Iterator[tuple[int, int]]:
    """Options for `idle:interval:count`, each part optional, times with a unit: `30m::10`."""
    if ":" not in text:
        return
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for option, part in zip(options, text.split(":"), strict=True):
        match = re.fullmatch(r"(\d+)([smhd]?)", part, re.ASCII)
        if match:
            yield option, int(match[1]) * _UNITS[match[2]]


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"address already in use: stop the program that listens on port {port}, or"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address;"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has;"
    return f"{error.strerror or error};"


def _change(name: str) -> str:
    return f"choose another with {name} or KONG_{name.upper()}"


def exchange(server: Any, settings: Settings) -> None:
    """Give gunicorn's master the listeners of the settings: unchanged ones stay open, so that no connection is lost.

    An address that cannot be had is logged and left out; the others change all the same.
    """
    held = {_local_address(held): held for held in server.LISTENERS}
    chosen = []
    for name, listener in wanted(settings):
        try:
            _, address = resolve(name, listener)
            chosen.append(held.pop(address, None) or _adopt(server, open_one(name, listener)))
        except ConfigurationError as error:
            server.log.error("%s", error)
    if not chosen:
        server.log.error("no address can be listened on: the old ones stay")
        return
    for leaving in held.values():
        leaving.close()
    server.LISTENERS = chosen


def _local_address(listener: Any) -> Address:
    name = listener.getsockname()
    return str(name[0]), int(name[1])


def _adopt(server: Any, sock: socket.socket) -> Any:
    """Wrap a socket as gunicorn does with inherited ones."""
    from gunicorn.sock import TCP6Socket, TCPSocket

    kind = TCP6Socket if sock.family == socket.AF_INET6 else TCPSocket
    address = sock.getsockname()
    return kind(address, server.cfg, server.log, fd=sock.detach())
