"""Which answers may be stored and how long they are fresh (RFC 9111), and which media types match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from kong_gevent.pdk import Conf

LONGEST = 1 << 31
"""Seconds that stand for every larger number (RFC 9111, section 1.2.2)."""
HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "content-length",
    )
)


def directives(values: Iterable[str]) -> dict[str, Any]:
    """`Cache-Control` taken apart: names in lower case, with numbers, texts or True."""
    found: dict[str, Any] = {}
    for part in ",".join(values).split(","):
        name, equals, value = part.strip().partition("=")
        text = value.strip().strip('"')
        found[name.strip().lower()] = (
            (_seconds(text) if text.isascii() and text.isdigit() else text) if equals else True
        )
    found.pop("", None)
    return found


def _seconds(digits: str) -> int:
    digits = digits.lstrip("0")[:11]  # no more than it takes to see that it is too large
    return min(int(digits or 0), LONGEST)


def resource_ttl(said: Mapping[str, Any], expires: str, now: float) -> int:
    """Seconds for which an answer is fresh, by what it says itself; 0 when it says nothing."""
    for name in ("s-maxage", "max-age"):
        if name in said:
            return said[name] if isinstance(said[name], int) and said[name] is not True else 0
    try:
        until = parsedate_to_datetime(expires)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)  # whatever the form of the date (RFC 9110, section 5.6.7)
    return min(int(until.timestamp() - now + 0.5), LONGEST)


def is_fresh(conf: Conf, asked: Mapping[str, Any], age: int, ttl: int) -> bool:
    """Whether a stored answer will do."""
    if not conf.cache_control:
        return age <= (conf.cache_ttl or 300)
    if age > _number(asked.get("max-age"), age) or ttl - age < _number(asked.get("min-fresh"), ttl - age):
        return False
    stale = asked.get("max-stale")
    return age <= ttl or stale is True or age - ttl <= _number(stale, -1)


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value is not True else otherwise


Media = tuple[str, str, frozenset[tuple[str, str]]]


def media_type(text: str) -> Media | None:
    """Type, subtype and parameters; None for what is none."""
    media, *parameters = (part.strip() for part in text.split(";"))
    kind, slash, subtype = media.lower().partition("/")
    if not (slash and kind and subtype) or "/" in subtype or " " in media:
        return None
    pairs = (part.partition("=") for part in parameters if part)
    return kind, subtype, frozenset((name.strip().lower(), value.strip().strip('"')) for name, _, value in pairs)


def matches(entry: Media, kind: Media) -> bool:
    """Whether a media type is one that the entry names."""
    return entry[0] in ("*", kind[0]) and entry[1] in ("*", kind[1]) and entry[2] == kind[2]


def is_kept(name: str) -> bool:
    """Whether a field (lower case) is stored with the answer."""
    return name not in HOP and "ratelimit-remaining" not in name
