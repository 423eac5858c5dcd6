"""Hosts, addresses, paths, URLs and other named things: the checks behind the reusable fields, with Kong 3.9's texts.

Each function takes a text and returns the failure, or None.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

_LABELS = re.compile(r"[A-Za-z0-9._-]+\Z")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~/%:@!$&'()*+,;=-]*\Z")
_HEADER = re.compile(r"[A-Za-z0-9_-]+\Z")
_COOKIE = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z|~]+\Z")
_NAME = re.compile(r"[A-Za-z0-9._~\x80-\U0010ffff-]*\Z")
_METHOD = re.compile(r"[A-Z]+\Z")
_TAG = re.compile(r"[ -+\x2d.0-~\x80-\U0010ffff]+\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_COOKIE_TEXT = (
    "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters "
    '()<>@,;:\\"/?={}[] are not allowed.'
)


class Host(NamedTuple):
    """What a host text is: `kind` is "name", "ipv4" or "ipv6"; `error` says why it is none."""

    kind: str
    host: str = ""
    port: int | None = None
    error: str | None = None


def parse_host(text: str) -> Host:
    """Take a host name or address with optional port apart."""
    if text.count(":") > 1 or text.startswith("["):
        return _ipv6(text)
    host, colon, port = text.partition(":")
    if _DIGITS_AND_DOTS.match(host):
        return _with_port("ipv4", host, colon, port, _is_ip(host), f"invalid ipv4 address: {text}")
    return _with_port("name", host, colon, port, _is_name(host), f"invalid hostname: {text}")


def _ipv6(text: str) -> Host:
    error = f"invalid ipv6 address: {text}"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return Host("ipv6", error=error)
        return _with_port("ipv6", host, rest[:1], rest[1:], _is_ip(host), error)
    return _with_port("ipv6", text, "", "", _is_ip(text), error)


def _with_port(kind: str, host: str, colon: str, port: str, valid: bool, error: str) -> Host:
    if not valid or (colon and not (port.isascii() and port.isdigit())):
        return Host(kind, error=error)
    if not colon:
        return Host(kind, host)
    if len(port) > 5 or not 0 < int(port) <= 65535:
        return Host(kind, error="invalid port number")
    return Host(kind, host, int(port))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_name(text: str) -> bool:
    if not _LABELS.match(text):
        return False
    labels = (text[:-1] if text.endswith(".") else text).split(".")
    return all(label and not label.endswith("-") for label in labels)


def host(text: str) -> str | None:
    """A host name or address without port."""
    parsed = parse_host(text)
    if parsed.port is not None or parsed.error == "invalid port number":
        return "must not have a port"
    return f"invalid value: {text}" if parsed.error else None


def host_with_optional_port(text: str) -> str | None:
    """A host name or address, a port may follow."""
    return parse_host(text).error


def sni(text: str) -> str | None:
    """A server name: no address, no port."""
    return _sni(text, text)


def _sni(text: str, shown: str) -> str | None:
    parsed = parse_host(text)
    if parsed.error and parsed.error != "invalid port number":
        return f"invalid value: {shown}"
    if parsed.kind != "name":
        return "must not be an IP"
    return "must not have a port" if parsed.port is not None or parsed.error else None


def wildcard_sni(text: str) -> str | None:
    """A server name with at most one `*`, leftmost or rightmost."""
    at = text.find("*")
    if at >= 0:
        if at not in (0, len(text) - 1):
            return "wildcard must be leftmost or rightmost character"
        if text.count("*") > 1:
            return "only one wildcard must be specified"
    return _sni(text.replace("*", "wildcard"), text)


def host_with_wildcard(text: str) -> str | None:
    """A route's host: an optional port, at most one whole label `*` at either end."""
    if text.count("*") > 1:
        return "invalid wildcard: must have at most one wildcard"
    bare = text.rpartition(":")[0] if re.search(r":\d*\Z", text) else text
    if "*" in text and not (bare.startswith("*.") or bare.endswith(".*")):
        return "invalid wildcard: must be placed at leftmost or rightmost label"
    error = parse_host(text.replace("*", "abc")).error
    return f"{error.rpartition(': ')[0]}: {text}" if error and ": " in error else error


def ip(text: str) -> str | None:
    """An address."""
    return None if _is_ip(text) else f"not an ip address: {text}"


def ip_or_cidr(text: str) -> str | None:
    """An address or a range in CIDR notation; bits behind the mask are tolerated."""
    address, slash, bits = text.partition("/")
    if _is_ip(address):
        longest = 128 if ":" in address else 32
        if not slash or (bits.isascii() and bits.isdigit() and len(bits) < 4 and int(bits) <= longest):
            return None
    return f"invalid ip or cidr range: '{text}'"


def path(text: str) -> str | None:
    """The characters of a path (RFC 3986, section 3.3) and its percent escapes."""
    if not _PATH.match(text):
        return f"invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"
    return escapes(text)


def escapes(text: str) -> str | None:
    """Percent escapes must have two hexadecimal digits."""
    wrong = _BAD_ESCAPE.search(text)
    return f"invalid url-encoded value: '{wrong.group()}'" if wrong else None


def header_name(text: str) -> str | None:
    """A field name of HTTP, as far as Kong admits it."""
    if _HEADER.match(text):
        return None
    return f"bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"


def cookie_name(text: str) -> str | None:
    """A token of RFC 2616."""
    return None if _COOKIE.match(text) else _COOKIE_TEXT


def utf8_name(text: str) -> str | None:
    """A name of an entity: letters, digits, `.-_~` and anything beyond ASCII."""
    if _NAME.match(text):
        return None
    return f"invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"


def tag(text: str) -> str | None:
    """Printable ASCII but comma and slash, and anything beyond ASCII."""
    if _TAG.match(text):
        return None
    return f"invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"


def method(text: str) -> str | None:
    """A request method: upper-case letters, invented ones too."""
    return None if _METHOD.match(text) else f"invalid value: {text}"


def url(text: str) -> str | None:
    """An absolute URL."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 -- reading it is the check
    except ValueError as error:
        return f"could not parse url. {error}"
    if not parts.hostname:
        return "missing host in url"
    return None if parts.scheme else "missing scheme in url"
