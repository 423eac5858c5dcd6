"""Query strings as plugins see them: names with decoded values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_plus

QueryValue = str | bool
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")
_ESCAPES = {number: quote(chr(number), safe="") for number in range(128)}


def parse_query(raw: str, limit: int = 100) -> dict[str, QueryValue | list[QueryValue]]:
    """Query arguments by name, decoded: `?a` is True, `?a=` is "", a repeated name gives a list; `limit` arguments."""
    found: dict[str, QueryValue | list[QueryValue]] = {}
    for part in [part for part in raw.split("&") if part][:limit]:
        name, equals, value = part.partition("=")
        decoded: QueryValue = _decoded(value) if equals else True
        key = _decoded(name)
        earlier = found.get(key)
        if earlier is None:
            found[key] = decoded
        elif isinstance(earlier, list):
            earlier.append(decoded)
        else:
            found[key] = [earlier, decoded]
    return found


def _decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _encoded(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return text.translate(_ESCAPES) if text.isascii() else quote(text, safe="", errors="surrogateescape")


def encode_query(arguments: Mapping[str, Any]) -> str:
    """The inverse of `parse_query`: True gives a bare name, lists give repeated names; order is kept."""
    parts = []
    for name, value in arguments.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if item is True:
                parts.append(_encoded(name))
            elif item is not None and item is not False:
                parts.append(f"{_encoded(name)}={_encoded(str(item))}")
    return "&".join(parts)
