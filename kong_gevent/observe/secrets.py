"""Which header fields and query arguments carry secrets, and what is shown in their place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from kong_gevent.http.fields import normalised_name
from kong_gevent.schema.masking import MASK

_FIELDS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-forwarded-client-cert"})
_WORDS = re.compile(
    r"(?:^|[-_.])(?:api-?key|key|token|jwt|secret|password|passwd|signature|session|assertion)(?:$|[-_.])"
    r"|apikey|access_?token",
    re.IGNORECASE,
)
"""Words by which names of keys and tokens are known."""


def is_secret(name: str, more: Collection[str] = ()) -> bool:
    """Whether values under this name are masked; `more`: further names (normalised)."""
    normal = normalised_name(name)
    return normal in _FIELDS or normal in more or _WORDS.search(normal) is not None


def shown_fields(fields: Iterable[tuple[str, str]], more: Collection[str] = ()) -> list[tuple[str, str]]:
    """Header fields with `******` for the values of secret ones."""
    return [(name, MASK if is_secret(name, more) else value) for name, value in fields]


def shown_target(target: str, more: Collection[str] = ()) -> str:
    """A request target with `******` for the values of secret query arguments."""
    path, mark, query = target.partition("?")
    if not query:
        return target
    pairs = []
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        pairs.append(f"{name}={MASK}" if equals and is_secret(name, more) else pair)
    return path + mark + "&".join(pairs)
