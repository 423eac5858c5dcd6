"""Error trees: their shape on the wire and their one-line summary, as Kong 3.9 composes them.

A tree maps field names to a text or to a sub-tree; arrays and sets map 1-based positions; `@entity` holds a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from kong_gevent.errors import SchemaViolation

Errors = dict[Any, Any]
ENTITY = "@entity"
REQUIRED = "required field missing"
UNKNOWN = "unknown field"
_MARSHMALLOW_SCHEMA = "_schema"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SAFE_HOLES = 10


def leaf(error: ValidationError) -> Any:
    """What one failed field contributes to the tree: its text, or a sub-tree."""
    return normalise(error.messages)


def normalise(messages: Any) -> Any:
    """Marshmallow's messages as a tree: lists of one text become the text, entity texts move to `@entity`."""
    if isinstance(messages, Mapping):
        tree: Errors = {}
        for key, value in messages.items():
            if key in (_MARSHMALLOW_SCHEMA, ENTITY):
                tree.setdefault(ENTITY, []).extend(value if isinstance(value, list) else [value])
            else:
                tree[key] = normalise(value)
        return tree
    if isinstance(messages, list):
        return messages[0] if len(messages) == 1 else "; ".join(str(text) for text in messages)
    return messages


def wire(tree: Any) -> Any:
    """The tree as JSON: positions become an array with null in its holes (an object when it would be mostly holes)."""
    if not isinstance(tree, Mapping):
        return tree
    if tree and all(isinstance(key, int) for key in tree):
        last = max(tree)
        if last <= _SAFE_HOLES or last <= 2 * len(tree):
            return [wire(tree.get(position)) for position in range(1, last + 1)]
    return {str(key): wire(value) for key, value in tree.items()}


def summary(tree: Mapping[Any, Any]) -> str:
    """`schema violation (a: text)` or `2 schema violations (…; …)`: entity texts first, then fields by name."""
    found = list(tree.get(ENTITY, ()))
    for name in _ordered(tree):
        value = tree[name]
        if name == ENTITY:
            continue
        if not isinstance(value, Mapping):
            found.append(f"{name}: {value}")
            continue
        for sub in _ordered(value):
            inner = value[sub]
            found.append(f"{name}.{sub}: {inner if isinstance(inner, str) else dump(inner)}")
    text = "; ".join(found)
    return f"schema violation ({text})" if len(found) == 1 else f"{len(found)} schema violations ({text})"


def _ordered(tree: Mapping[Any, Any]) -> list[Any]:
    return sorted(tree, key=lambda key: (0, key, "") if isinstance(key, int) else (1, 0, str(key)))


def dump(value: Any, indent: str = "") -> str:
    """A deeper value as Kong prints it: an indented Lua table."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value, 1))
    if not isinstance(value, Mapping):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if not value:
        return "{}"
    inner = indent + "  "
    lines, expected = [], 1
    for key in _ordered(value):
        if key == expected:
            label, expected = "", expected + 1
        elif isinstance(key, int):
            label = f"[{key}] = "
        else:
            label = f"{key} = " if _NAME.match(key) else f'["{key}"] = '
        lines.append(f"{inner}{label}{dump(value[key], inner)}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def violation(tree: Mapping[Any, Any]) -> SchemaViolation:
    """The coded error for a tree."""
    return SchemaViolation(summary(tree), fields=wire(tree))
