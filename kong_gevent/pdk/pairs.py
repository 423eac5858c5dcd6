"""Settings in which one text holds a name and a value, `name:value`, as transforming plugins have them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kong_gevent.pdk.templates import Template
from kong_gevent.schema import fields

WITH_COLON = "^[^:]+:.*$"
"""A Lua pattern for a field's `match`."""
_HEADER = re.compile(r"[A-Za-z0-9_-]+")


def split_pair(element: str) -> tuple[str, str | None]:
    """`name:value` taken apart at the first colons; no value is None."""
    name, _, rest = element.partition(":")
    return name, rest.lstrip(":") or None


def renames(elements: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs that have both an old and a new name."""
    return [(old, new) for old, new in map(split_pair, elements) if new]


def templates(elements: Iterable[str]) -> list[tuple[str, Template]]:
    """The pairs that have a value, with the value as a template; raises `ExpressionError`."""
    return [(name, Template(value)) for name, value in map(split_pair, elements) if value]


def plain_values(elements: Iterable[str]) -> list[tuple[str, Template]]:
    """The same for values in which `$(` means nothing."""
    return [(name, Template.plain(value)) for name, value in map(split_pair, elements) if value]


def header_name_error(name: str) -> str | None:
    """For `custom_validator`: what is wrong with the name of a header."""
    return None if _HEADER.fullmatch(name) else f"'{name}' is not a valid header"


def header_pair_error(element: str) -> str | None:
    """What is wrong with the name in a pair of header and value."""
    return header_name_error(split_pair(element)[0])


def header_rename_error(element: str) -> str | None:
    """What is wrong with a pair of two header names."""
    old, new = split_pair(element)
    return header_name_error(old) or header_name_error(new or "")


def dots_in_keys() -> fields.Boolean:
    """The setting of this name, which Kong's open edition lacks."""
    text = "Whether dots in names of JSON fields mean nothing; when false, `a.b` and `list[*].c` are paths."
    return fields.Boolean(load_default=True, metadata={"description": text})
