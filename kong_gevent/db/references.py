"""References given by another key than the id (`{"service": {"name": "a"}}`) are turned into ids before validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from kong_gevent.db import rows
from kong_gevent.db.catalogue import Entity
from kong_gevent.errors import ForeignKeysUnresolved, key_text

if TYPE_CHECKING:
    from kong_gevent.db.store import Store


class Resolver:
    """Resolves the foreign fields of one kind of entity."""

    def __init__(self, store: Store, entity: Entity) -> None:
        self._store = store
        self._entity = entity

    def resolve(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values with ids where a reference names a unique field. Raises `ForeignKeysUnresolved`.

        A reference by id, or by nothing that could be a key, is left as it is: validation and storage judge it.
        """
        unresolved: dict[str, dict[str, str]] = {}
        for name, field in self._entity.foreign.items():
            given = values.get(name)
            parent = self._store.catalogue.get(field.reference)
            if parent is None or not isinstance(given, Mapping) or given.get("id") is not None:
                continue
            key = _key(parent, given)
            if key is None:
                continue
            row = self._store.strategy.find(parent.name, key, rows.unique_value(given[key]))
            if row is not None:
                values[name] = {"id": row.id}
            else:
                unresolved[name] = {
                    key: f"the foreign key cannot be resolved with '{key_text({key: given[key]})}' "
                    f"for an existing '{parent.name}' entity"
                }
        if unresolved:
            raise _error(unresolved)
        return values


def _key(parent: Entity, given: Mapping[str, Any]) -> str | None:
    for key in parent.keys:
        if given.get(key) is None:
            continue
        try:
            parent.fields[key].deserialize(given[key])
        except ValidationError:
            continue
        return key
    return None


def _error(unresolved: dict[str, dict[str, str]]) -> ForeignKeysUnresolved:
    texts = [f"{name}.{key}: {text}" for name, one in sorted(unresolved.items()) for key, text in one.items()]
    if len(texts) == 1:
        return ForeignKeysUnresolved(f"foreign key unresolved ({texts[0]})", fields=unresolved)
    return ForeignKeysUnresolved(f"{len(texts)} foreign keys unresolved ({'; '.join(texts)})", fields=unresolved)
