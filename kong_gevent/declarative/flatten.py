"""Nested entities made flat: children listed under their parent become entries of their own that know the parent."""

from __future__ import annotations

from typing import Any

from kong_gevent.db.catalogue import Catalogue
from kong_gevent.declarative.problems import Place, Problems
from kong_gevent.declarative.reader import Item
from kong_gevent.declarative.staging import Staging

_NOTES = ("_comment", "_ignore")
_MAX_NESTING = 20


class Flattener:
    """Puts the entities of a document into the staging, one by one."""

    def __init__(self, catalogue: Catalogue, staging: Staging, problems: Problems) -> None:
        self._catalogue = catalogue
        self._staging = staging
        self._problems = problems
        # A field wins over a list of children that has its name.
        self._children = {
            name: {
                child.name: field for child, field, _ in reversed(referrers) if child.name not in catalogue[name].fields
            }
            for name, referrers in catalogue.referrers.items()
        }

    def add(self, item: Item) -> None:
        """Take one entry of a top-level list; what is no list is a problem."""
        if item.position is None:
            if item.value not in (None, [], {}):
                self._problems.add((item.key,), "expected an array")
            return
        self._entity(item.key, (item.key, item.position), item.value, None)

    def _entity(self, kind: str, place: Place, value: Any, parent: tuple[str, int] | None) -> None:
        if not isinstance(value, dict):
            self._problems.add(place, "expected a record")
            return
        if len(place) > 2 * _MAX_NESTING:
            self._problems.add(place, "nested too deeply")
            return
        own = {name: part for name, part in value.items() if name not in _NOTES}
        lists = {name: own.pop(name) for name in self._children[kind] if name in own}
        number = self._staging.add_raw(kind, place, own, parent)
        for name, entries in lists.items():
            if entries in (None, {}):
                continue
            if not isinstance(entries, list):
                self._problems.add((*place, name), "expected an array")
                continue
            field = self._children[kind][name]
            for position, entry in enumerate(entries, 1):
                self._entity(name, (*place, name, position), entry, (field, number))
