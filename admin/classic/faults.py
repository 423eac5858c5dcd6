"""Refusals in the classic form: a flat object of field names and texts, or a `message`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kong_gevent.errors import ForeignKeyViolation, GatewayError, UniqueViolation
from kong_gevent.schema.messages import ENTITY, REQUIRED, UNKNOWN

NOT_FOUND = "Not found"
_TYPES = {"an integer": "number", "a set": "array", "a record": "table", "a map": "table"}
_EXPECTED = re.compile(r"expected (an? (?:string|number|integer|boolean|array|set|map|record))\Z")
_CHOICES = "expected one of: "
Tree = Mapping[Any, Any]


class Refused(GatewayError):
    """A request ends with this status and body."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.body = dict(body)
        super().__init__(f"{status} {self.body}")


def invalid(fields: Mapping[str, str]) -> Refused:
    """400: what is wrong with which field."""
    return Refused(400, fields)


def not_there() -> Refused:
    """404: the object of the path does not exist."""
    return Refused(404, {"message": NOT_FOUND})


def flat(tree: Tree, given: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, str]:
    """An error tree of today's schemas as a flat object; `rename` turns a dotted path into its classic name."""
    found: dict[str, str] = {}
    for path, text in _leaves(tree, ""):
        name = rename(path)
        found.setdefault(name, classic_text(text, name.rpartition(".")[2], _at(given, path)))
    return found


def _leaves(tree: Tree, above: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if key == ENTITY:
            yield above or "message", "; ".join(str(text) for text in value)
        elif isinstance(key, int):  # a wrong element: the field as a whole is named
            yield from _leaves(value, above) if isinstance(value, Mapping) else [(above, str(value))]
        else:
            path = f"{above}.{key}" if above else str(key)
            yield from _leaves(value, path) if isinstance(value, Mapping) else [(path, str(value))]


def _at(given: Any, path: str) -> Any:
    for name in path.split("."):
        given = given.get(name) if isinstance(given, Mapping) else None
    return given


def classic_text(text: str, name: str, value: Any) -> str:
    """The classic wording of a rule that was broken; texts without one stay as they are."""
    if text == REQUIRED:
        return f"{name} is required"
    if text == UNKNOWN:
        return f"{name} is an unknown field"
    expected = _EXPECTED.match(text)
    if expected:
        return f"{name} is not a {_TYPES.get(expected[1]) or expected[1].partition(' ')[2]}"
    if text.startswith(_CHOICES):
        allowed = text.removeprefix(_CHOICES).split(", ")
        wrong = next((item for item in value if item not in allowed), "") if isinstance(value, list) else value
        quoted = ", ".join(f'"{item}"' for item in allowed)
        return f'"{wrong}" is not allowed. Allowed values are: {quoted}'
    return text


def taken(error: UniqueViolation, rename: Callable[[str], str]) -> Refused:
    """409: a unique value that somebody else holds."""
    return Refused(409, {rename(name): exists(rename(name), value) for name, value in dict(error.fields).items()})


def exists(name: str, value: Any) -> str:
    """The text about a unique value that is taken."""
    return f"{name} already exists with value '{value}'"


def dangling(error: ForeignKeyViolation, rename: Callable[[str], str]) -> Refused:
    """404: a reference to nothing."""
    return Refused(
        404,
        {rename(name): missing(rename(name), key["id"]) for name, key in dict(error.fields).items()},
    )


def missing(name: str, key: str) -> str:
    """The text about a reference to nothing."""
    return f"{name} {key} does not exist"
