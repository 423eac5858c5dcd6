"""A whole configuration out of a store, and a document into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kong_gevent.db import rows
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.strategies.base import Row
from kong_gevent.db.transfer import Incoming, Transfer
from kong_gevent.declarative.document import Document, in_order
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.declarative.writer import JsonWriter, YamlWriter
from kong_gevent.errors import StoreUnavailable
from kong_gevent.schema.messages import ENTITY

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

_MOST_CONFLICTS = 100
Advance = Callable[[int], None]


def export(store: Store, writer: YamlWriter | JsonWriter, advance: Advance) -> int:
    """Write what is in a store (but for what is not `exported`), parents first, by id; how many entities there were."""
    transfer, count = Transfer(store, advance), 0
    writer.begin()
    for name in in_order(store.catalogue):
        kind, empty = store.catalogue[name], True
        if not kind.exported:
            continue
        for row in transfer.read(kind):
            left = rows.remaining(row)
            if left == 0:
                continue  # it expired while the page was under way
            if empty:
                writer.collection(name)
                empty = False
            writer.entity(_flat(kind, row, left))
            count += 1
    writer.end()
    return count


def _flat(kind: Entity, row: Row, left: int | None) -> dict[str, Any]:
    """An entity as documents have it: references are ids, a life that ends is what is left of it in seconds."""
    values = rows.decode(kind, row)
    for name in kind.foreign:
        if values[name] is not None:
            values[name] = values[name]["id"]
    if left is not None:
        values["ttl"] = left
    return values


def check_conflicts(store: Store, document: Document, *, at_once: bool = False) -> None:
    """Look for what would stop an import half-way. Raises `InvalidDocument`; nothing is written.

    `at_once`: the document is one commit, in which its entities may pass values to one another.
    """
    transfer = Transfer(store, lambda count: None)
    tree: dict[str, Any] = {}
    found = 0
    for name in document.kinds:
        for conflict in transfer.conflicts(store.catalogue[name], _incoming(document, name)):
            if at_once and document.has(name, conflict.holder):
                continue
            found += 1
            if found > _MOST_CONFLICTS:
                break
            tree.setdefault(name, {ENTITY: []})[ENTITY].append(
                f"uniqueness violation: the datastore has an entity with {conflict.field} set to '{conflict.value}' "
                f"under the id {conflict.holder}; the document has it under {conflict.id}"
            )
    if tree:
        raise InvalidDocument(tree, max(0, found - _MOST_CONFLICTS))


def import_into(store: Store, document: Document, advance: Advance) -> int:
    """Store the entities of a document under their ids; how many were new or changed.

    Entities that the document does not have stay. Raises what `Transfer.write` does; an import that was interrupted
    can be repeated.
    """
    transfer, changed = Transfer(store, advance), 0
    total = document.count()
    for name in document.kinds:
        try:
            changed += transfer.write(store.catalogue[name], _incoming(document, name))
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"the import was interrupted at '{name}' ({total} entities in all): {error}; "
                "import the file again, what is stored already stays"
            ) from error
    return changed


def _incoming(document: Document, name: str) -> Iterator[Incoming]:
    return (Incoming(entry.id, entry.body, entry.given, entry.expires) for entry in document.entries(name))
