"""Request targets: split, checked, brought into the one form that is matched and sent, and joined with service paths.

Strategy: what a route was matched on is what the upstream receives. There is a single normal form of a path; whatever
an upstream could still read as another path (a dot segment hidden behind an escaped slash or a `;parameter`) is refused
rather than repaired. Nearly every path is in normal form already, so that case is decided by one pattern.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Literal

from kong_gevent.errors import ProtocolError

_URI_CHARS = r"A-Za-z0-9\-._~!$&'()*+,;=:@/?#\[\]"
"""Reserved and unreserved characters of RFC 3986 for the inside of a character class; the escape sign is not one."""
_is_plain = re.compile(rf"[{_URI_CHARS}]*").fullmatch
_ODD = re.compile(rf"[^{_URI_CHARS}%]")
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_SLASHES = re.compile("//+")
_DISGUISED_DOTS = re.compile(r"(?:/|%2F|%5C)\.\.?(?:;|%2F|%5C|/|\Z)")
"""After normalising no segment is `.` or `..`; this finds what becomes one where escapes or parameters are undone."""
_LEADING_DOTS = re.compile(r"(?:\.\.?(?:/|\Z|%2F|%5C|;[^/]*/?))+")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX = "0123456789ABCDEFabcdef"
_ESCAPES = {
    f"%{high}{low}": char if (char := chr(int(high + low, 16))) in _UNRESERVED else f"%{high}{low}".upper()
    for high in _HEX
    for low in _HEX
}
"""Every spelling of every escape → what stands for it in the normal form."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*)\.?)(?::([0-9]{1,5}))?")
_MAX_HOST = 255

PathHandling = Literal["v0", "v1"]


def split_absolute(raw: bytes) -> tuple[bytes, bytes] | None:
    """Authority and origin-form target of an absolute-form one; None when `raw` is not absolute-form with http(s).

    The authority replaces the request's Host (RFC 9112, section 3.2.2); check it with `parse_host`.
    Raises `ProtocolError` when it is empty or has user information.
    """
    match = _ABSOLUTE.fullmatch(raw)
    if match is None:
        return None
    authority, rest = match.groups()
    if not authority or b"@" in authority:
        raise ProtocolError(400, "Bad request", "bad authority in the request target")
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def parse_host(value: bytes) -> tuple[str, int | None]:
    """Host name and port of a Host field or an authority; the port is None when it is not given.

    The name is as sent but for one trailing dot, which makes no difference in DNS; IPv6 literals keep their brackets.
    Raises `ProtocolError` for anything but a name of letters, digits, `-`, `_` and dots, or an IP address: user
    information, lists, spaces, paths, escapes, empty labels, and ports that are empty, not digits or above 65535.
    """
    match = _HOST.fullmatch(value)
    if match is None or len(value) > _MAX_HOST + 6:
        raise ProtocolError(400, "Bad request", "malformed host")
    literal, name, port = match.groups()
    if literal is not None:
        try:
            IPv6Address(literal.decode())
        except AddressValueError:
            raise ProtocolError(400, "Bad request", "bad IPv6 address as host") from None
        name = b"[%b]" % literal
    if len(name) > _MAX_HOST:
        raise ProtocolError(400, "Bad request", "host name too long")
    if port is None:
        return name.decode(), None
    number = int(port)
    if number > 65535:
        raise ProtocolError(400, "Bad request", "port of the host out of range")
    return name.decode(), number


def normalise_path(raw: str) -> str:
    """The normal form of a path without query: what routes are matched on and upstreams receive.

    Escapes of unreserved characters are decoded, other escapes are upper-cased, characters that a URI cannot hold are
    escaped, adjacent slashes are merged, and dot segments (also escaped ones) are resolved without leaving the root
    (RFC 3986, section 6.2.2). Nothing is decoded twice. Raises `ProtocolError` for a broken escape, for an escaped NUL
    (it ends names in C programs; Kong's server layer refuses it too), and for a segment that turns into a dot segment
    where an upstream undoes `%2F` or `%5C` or cuts at `;`.
    """
    if _is_plain(raw) and "//" not in raw and "/." not in raw:
        return raw or "/"
    return _normalise(raw)


def _normalise(raw: str) -> str:
    path = escape_path(raw)
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise ProtocolError(400, "Bad request", "broken escape in the path")
        path = _ESCAPE.sub(lambda escape: _ESCAPES[escape[0]], path)
        if "%00" in path:
            raise ProtocolError(400, "Bad request", "escaped NUL in the path")
    path = _SLASHES.sub("/", path)
    if "/." in path:
        path = _resolve_dots(path)
    if _DISGUISED_DOTS.search(path):
        raise ProtocolError(400, "Bad request", "disguised dot segment in the path")
    return path or "/"


def _resolve_dots(path: str) -> str:
    """Remove `.` and `..` segments (RFC 3986, section 5.2.4); a path that ends in one ends in a slash afterwards."""
    segments = path.split("/")
    resolved: list[str] = []
    for segment in segments[1:]:
        if segment == "..":
            if resolved:
                resolved.pop()
        elif segment != ".":
            resolved.append(segment)
    if segments[-1] in (".", ".."):
        resolved.append("")
    return f"{segments[0]}/{'/'.join(resolved)}"


def escape_path(path: str) -> str:
    """`path` with the characters that a URI cannot hold escaped (as UTF-8); existing escapes stay as they are."""
    return _ODD.sub(_escape_char, path)


def _escape_char(char: re.Match[str]) -> str:
    return "".join(f"%{code:02X}" for code in char[0].encode("utf-8", "surrogatepass"))


def upstream_path(
    service_path: str | None, prefix: str, path: str, strip_path: bool, path_handling: PathHandling = "v0"
) -> str:
    """The path that the upstream receives, by Kong 3.9's rules.

    `prefix`: what the route matched of `path` (empty for a route without paths); `path`: in normal form. Segments that
    stripping in the middle of a name turns into dot segments are removed, so that no request climbs out of
    `service_path`.
    """
    base = service_path or "/"
    if strip_path and prefix:
        rest = path[len(prefix) :]
        if rest[:1] == ".":
            rest = _LEADING_DOTS.sub("", rest, count=1) if _LEADING_DOTS.match(rest) else rest
        if path_handling == "v1":
            return base + rest[1:] if base[-1] == "/" and rest[:1] == "/" else base + rest
        return _join_stripped(base, rest, path)
    if base == "/":
        return path
    if path_handling == "v1" or base[-1] == "/":
        return base + path[1:]
    return base if path == "/" else base + path


def _join_stripped(base: str, rest: str, path: str) -> str:
    """Path handling v0: exactly one slash between the service's path and what is left of the request's."""
    ends_with_slash = base[-1] == "/"
    if rest:
        if rest[0] == "/":
            return base[:-1] + rest if ends_with_slash else base + rest
        return base + rest if ends_with_slash else f"{base}/{rest}"
    if ends_with_slash:
        return base if base == "/" or path[-1] == "/" else base[:-1]
    return base + "/" if len(path) > 1 and path[-1] == "/" else base
