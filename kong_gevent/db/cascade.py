"""What goes when an entity goes: its dependants by their delete rules, each with its own event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kong_gevent.db import rows
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.strategies.base import Change, Delete, Operation, Put, Row
from kong_gevent.errors import ForeignKeyViolation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kong_gevent.db.store import Store

_PAGE = 500


def referenced(child: str, parent: str) -> ForeignKeyViolation:
    """The refusal to delete an entity of the kind `parent`, for one of the kind `child` refers to it."""
    text = f"an existing '{child}' entity references this '{parent}' entity"
    return ForeignKeyViolation(text, fields={"@referenced_by": child})


class Deletion:
    """The operations and events that delete rows with their dependants, in one commit; children before parents.

    `settled(kind, id)`: whether something else is decided about a dependant in the same commit, so that it counts for
    nothing here. Raises `ForeignKeyViolation` when a referring entity restricts the deletion.
    """

    def __init__(
        self,
        store: Store,
        roots: Iterable[tuple[Entity, Row]],
        settled: Callable[[str, str], bool] = lambda kind, key: False,
    ) -> None:
        self._store = store
        self._settled = settled
        self._seen: set[tuple[str, str]] = set()
        self._cleared: dict[tuple[str, str], tuple[Entity, Row, set[str]]] = {}
        self.operations: list[Operation] = []
        self.changes: list[Change] = []
        self.before: dict[tuple[str, str], bytes] = {}
        """What is stored of the rows now, by kind and id."""
        for entity, row in roots:
            self._delete(entity, row)
        self._clear_references()

    def _delete(self, entity: Entity, row: Row) -> None:
        if (row.kind, row.id) in self._seen:
            return
        self._seen.add((row.kind, row.id))
        for child, field_name, field in self._store.catalogue.referrers[entity.name]:
            for child_row in self._children(row, child, field_name):
                if self._settled(child.name, child_row.id):
                    continue
                if field.on_delete == "cascade":
                    self._delete(child, child_row)
                elif field.on_delete == "null":
                    held = self._cleared.setdefault((child.name, child_row.id), (child, child_row, set()))
                    held[2].add(field_name)
                elif (child.name, child_row.id) not in self._seen:
                    raise referenced(child.name, entity.name)
        self.operations.append(Delete(row.kind, row.id, row.version))
        self.before[row.kind, row.id] = row.body
        keys = tuple(rows.cache_keys(entity, rows.decode(entity, row)))
        self.changes.append(Change(entity.name, row.id, "delete", keys))

    def _children(self, row: Row, child: Entity, field_name: str) -> Iterator[Row]:
        after: str | None = None
        while True:
            found = self._store.strategy.children((row.kind, row.id), child.name, field_name, after, _PAGE)
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1].id

    def _clear_references(self) -> None:
        for key, (entity, row, names) in self._cleared.items():
            if key in self._seen:
                continue
            self.before[key] = row.body
            values = rows.decode(entity, row)
            for name in names:
                values[name] = None
            index = rows.index_of(entity, values)
            self.operations.append(Put(row.kind, row.id, rows.encode(values), index, row.version, row.expires))
            self.changes.append(Change(entity.name, row.id, "update", tuple(rows.cache_keys(entity, values))))
