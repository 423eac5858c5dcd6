"""Entries of queries, forms and JSON objects that are removed, renamed, replaced, added and appended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Value = Callable[[Mapping[str, Any]], Any]
"""Gives the value for the names that templates may use."""
_STEP = re.compile(r"[^.\[\]]+|\[\*\]")
_EVERY = "[*]"


def is_there(value: Any) -> bool:
    """Whether an entry counts as present: a value of false, or null, does not."""
    return value is not None and value is not False


class EntryRules:
    """The rules of one configuration, applied in this order: remove, rename, replace, add, append.

    `nested`: names are paths, `a.b` and `list[*].c`; objects on the way are made when something is added. Otherwise
    dots mean nothing.
    """

    __slots__ = ("_nested", "add", "append", "remove", "rename", "replace")

    def __init__(
        self,
        *,
        remove: Sequence[str] = (),
        rename: Sequence[tuple[str, str]] = (),
        replace: Sequence[tuple[str, Value]] = (),
        add: Sequence[tuple[str, Value]] = (),
        append: Sequence[tuple[str, Value]] = (),
        nested: bool = False,
    ) -> None:
        self.remove, self.rename = remove, rename
        self.replace, self.add, self.append = replace, add, append
        self._nested = nested

    def __bool__(self) -> bool:
        return bool(self.remove or self.rename or self.replace or self.add or self.append)

    @property
    def creates(self) -> bool:
        """Whether something comes of these rules when there is nothing yet."""
        return bool(self.add or self.append)

    def apply_to_arguments(self, arguments: dict[str, Any], names: Mapping[str, Any]) -> None:
        """Change the arguments of a query or form (see `queries.parse_query`)."""
        self._apply(arguments, names, False, lambda found, value: [found, value] if is_there(found) else value)

    def apply_to_json(self, document: dict[str, Any], names: Mapping[str, Any]) -> None:
        """Change a JSON object. Appending to a text makes a list of both, to anything but a list a list of one."""
        self._apply(document, names, self._nested, lambda found, value: [found, value] if _text(found) else [value])

    def _apply(
        self, target: dict[str, Any], names: Mapping[str, Any], nested: bool, joined: Callable[[Any, Any], Any]
    ) -> None:
        def places(name: str, create: bool = False) -> list[tuple[Any, Any]]:
            return list(_places(target, _STEP.findall(name), create)) if nested else [(target, name)]

        for name in self.remove:
            for holder, key in reversed(places(name)):
                if isinstance(holder, list):
                    del holder[key]
                else:
                    holder.pop(key, None)
        for name, new in self.rename:
            for holder, key in places(name):
                if isinstance(holder, dict) and is_there(holder.get(key)):
                    holder[new] = holder.pop(key)
        for name, value in self.replace:
            for holder, key in places(name):
                if is_there(_at(holder, key)):
                    holder[key] = value(names)
        for name, value in self.add:
            for holder, key in places(name, True):
                if not is_there(_at(holder, key)):
                    holder[key] = value(names)
        for name, value in self.append:
            for holder, key in places(name, True):
                found = _at(holder, key)
                holder[key] = [*found, value(names)] if isinstance(found, list) else joined(found, value(names))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _at(holder: Any, key: Any) -> Any:
    return holder.get(key) if isinstance(holder, dict) else holder[key]


def _places(holder: Any, steps: list[str], create: bool) -> Iterator[tuple[Any, Any]]:
    """(object or list, key or index) of all places that a path leads to."""
    if not steps:
        return
    step, *rest = steps
    if step == _EVERY:
        keys: Any = range(len(holder)) if isinstance(holder, list) else ()
    else:
        keys = (step,) if isinstance(holder, dict) else ()
    for key in keys:
        if not rest:
            yield holder, key
            continue
        found = _at(holder, key)
        if found is None and create and rest[0] != _EVERY:
            found = holder[key] = {}
        yield from _places(found, rest, create)
