"""What is wrong with a declarative document: a tree of texts, and the lines that the command line shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from kong_gevent.errors import InvalidDeclarativeConfiguration, key_text
from kong_gevent.schema.messages import ENTITY, wire

MOST = 1000
"""Problems that are kept: a large document with one mistake in all its entries says enough by then."""
Place = tuple[str | int, ...]


class InvalidDocument(InvalidDeclarativeConfiguration):
    """A document is refused as a whole. `tree`: maps by name and by position (from 1), texts at the leaves.

    `line`: of a text that is no document, where that shows.
    """

    def __init__(self, tree: Mapping[Any, Any], left_out: int = 0, line: int | None = None) -> None:
        self.tree = tree
        self.left_out = left_out
        self.line = line
        super().__init__(f"declarative config is invalid: {_lua(tree)}", fields=wire(tree))

    @classmethod
    def unreadable(cls, reason: str, line: int | None = None) -> Self:
        """The text is no document at all."""
        return cls({"error": f"failed parsing declarative configuration: {reason}"}, line=line)

    def lines(self) -> list[str]:
        """The problems line by line, each level indented by two blanks."""
        found = list(_lines(self.tree, "", ""))
        if set(self.tree) == {"error"}:
            found = [str(self.tree["error"])]
        if self.left_out:
            found.append(f"... and {self.left_out} more problems")
        return found


class Problems:
    """Collects problems by their place."""

    def __init__(self) -> None:
        self._tree: dict[Any, Any] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, place: Place, problem: Any) -> None:
        """Note a text or a tree at a place; texts at a place that has a tree become texts about the whole entry."""
        self._count += 1
        if self._count > MOST:
            return
        *above, last = place
        tree = self._tree
        for part in above:
            below = tree.get(part)
            if not isinstance(below, dict):
                below = tree[part] = {} if below is None else {ENTITY: [below]}
            tree = below
        tree[last] = problem if last not in tree else _join(tree[last], problem)

    def check(self) -> None:
        """Raises `InvalidDocument` when there is any problem."""
        if self:
            raise InvalidDocument(self._tree, max(0, self._count - MOST))


def _join(first: Any, second: Any) -> dict[Any, Any]:
    one = dict(first) if isinstance(first, Mapping) else {ENTITY: [first]}
    for name, value in (second if isinstance(second, Mapping) else {ENTITY: [second]}).items():
        if name not in one:
            one[name] = value
        elif name == ENTITY:
            one[name] = [*one[name], *value]
        else:
            one[name] = _join(one[name], value)
    return one


def _lua(tree: Any) -> str:
    """The tree in Lua's notation: positions in brackets after a hole."""
    if isinstance(tree, list):
        tree = dict(enumerate(tree, 1))
    if not isinstance(tree, Mapping):
        return key_text(tree)
    parts, expected = [], 1
    for key in sorted(tree, key=_rank):
        if key == expected:
            label, expected = "", expected + 1
        else:
            label = f"[{key}]=" if isinstance(key, int) else f"{key}="
        parts.append(label + _lua(tree[key]))
    return "{" + ",".join(parts) + "}"


def _rank(key: Any) -> tuple[bool, int, str]:
    """Positions first, by number; names in alphabetical order."""
    return (False, key, "") if isinstance(key, int) else (True, 0, str(key))


def _lines(tree: Mapping[Any, Any], name: str, indent: str) -> Iterator[str]:
    positions = sorted(key for key in tree if isinstance(key, int))
    for key in [*(key for key in tree if not isinstance(key, int)), *positions]:
        value = tree[key]
        if key == ENTITY:
            yield from (f"{indent}{text}" for text in value)
            continue
        label = f"- in entry {key} of '{name}':" if isinstance(key, int) else f"in '{key}':"
        if isinstance(value, Mapping):
            yield f"{indent}{label}"
            yield from _lines(value, str(key), indent + "  ")
        else:
            yield f"{indent}{label} {value}"
