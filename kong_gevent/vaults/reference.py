"""The form of a reference: `{vault://<vault>/<resource>[/<key>][/][?option=value][#version]}`, as in Kong 3.9."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

_FORM = re.compile(r"\{vault://([^/?#{}]+)/([^?#{}]+)(?:\?([^#{}]*))?(?:#(\d+))?\}\Z")


@dataclass(frozen=True)
class Reference:
    """A reference, taken apart. `vault`: a type, or the prefix of a vault entity; `key`: a name in a JSON secret."""

    text: str
    vault: str
    resource: str
    key: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    version: int | None = None


def is_reference(value: object) -> bool:
    """Whether a value as a whole has the look of a reference."""
    return isinstance(value, str) and value.startswith("{vault://") and value.endswith("}")


class Unresolved(ValueError):
    """A reference is none, or leads to nothing. The message names it and where was looked, never a secret."""


def parse(text: str) -> Reference:
    """Take a reference apart. Raises `Unresolved`.

    The last of several parts of the path is a key inside a JSON secret, unless the path ends with a slash.
    """
    match = _FORM.match(text)
    if not match:
        raise Unresolved(f"'{text}' is not a valid vault reference")
    vault, path, query, version = match.groups()
    resource, key = path.rstrip("/"), None
    if "/" in path and not path.endswith("/"):
        resource, _, key = path.rpartition("/")
    if not resource:
        raise Unresolved(f"'{text}' is not a valid vault reference: it names no secret")
    options = dict(parse_qsl(query or ""))
    return Reference(text, vault, resource, key, options, int(version) if version else None)
