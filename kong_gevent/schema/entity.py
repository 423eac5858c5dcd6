"""What one kind of entity is: schema, paths, keys. Storage, endpoints, documents and cascades derive from it.

The core's entities are described with it, and so are those that plugins bring (`Plugin.entities`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from kong_gevent.schema.kinds import Field, Foreign
from kong_gevent.schema.lengths import limit
from kong_gevent.schema.messages import Errors
from kong_gevent.schema.record import Record


class Reader(Protocol):
    """What a cross-entity check may ask the store."""

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        """An entity by id."""

    def children(self, entity: str, field: str, parent_id: str) -> Iterable[dict[str, Any]]:
        """Entities whose foreign field refers to a parent."""

    def each(self, entity: str) -> Iterable[dict[str, Any]]:
        """All entities of a kind."""


Preparer = Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]]
CrossCheck = Callable[[dict[str, Any], Reader], Errors]
DeleteCheck = Callable[[Mapping[str, Any], Reader], None]
Transform = Callable[[dict[str, Any], AbstractSet[str], Mapping[str, Any] | None], Errors]


class Entity:
    """Description of one kind of entity. It is made once and keeps no state.

    - `name`: of the kind, `schema`: its fields and checks (a `Record` with `id` and, as a rule, `created_at`, `tags`)
    - `collection`: path of its list (the name, if not given); `nested`: last part of the path below a parent
    - `endpoint_key`: unique field that may stand for the id in a path; `nested_key`: field that may stand for it below
      a parent, within which it is unique (`unique_together` has both)
    - `unique_together`: combinations that exist once (null counts as a value there)
    - `cache_key`: fields of Kong's key for the cached entity; `listed_by`: foreign fields by which nodes keep lists
    - `ttl`: rows may expire; writes take `ttl` in seconds
    - `admin`: whether the Admin API offers it; `exported`: whether exports have it
    - `pruned`: whether documents that say all there is to be remove what they do not have; not what clients were given
    - `prepare(values, stored)`: rewriting before validation
    - `transform(values, given, stored)`: changes valid values, in place, to what is stored (a hash, …), and returns
      errors; `given`: names of the fields that were sent, `stored`: the entity that a partial update changes, else
      None. It does not run for documents that say `_transform: false`
    - `shown_once`: fields that the answer to a POST shows as the client sent them, whatever `transform` made of them
    - `check(values, reader)`: errors that need other entities; `check_delete(values, reader)`: raises what keeps an
      entity from being deleted
    - `dao`: its data access, where it has habits of its own (a subclass of `kong_gevent.db.DAO`)
    """

    def __init__(
        self,
        name: str,
        schema: Record,
        *,
        collection: str | None = None,
        nested: str | None = None,
        endpoint_key: str | None = None,
        nested_key: str | None = None,
        unique_together: Iterable[tuple[str, ...]] = (),
        cache_key: tuple[str, ...] = (),
        listed_by: tuple[str, ...] = (),
        ttl: bool = False,
        admin: bool = True,
        exported: bool = True,
        pruned: bool = True,
        prepare: Preparer | None = None,
        transform: Transform | None = None,
        shown_once: tuple[str, ...] = (),
        check: CrossCheck | None = None,
        check_delete: DeleteCheck | None = None,
        dao: type[Any] | None = None,
    ) -> None:
        self.name = name
        self.schema = schema
        self.collection = collection or name
        self.nested = nested
        self.endpoint_key = endpoint_key
        self.nested_key = nested_key
        self.unique_together = tuple(unique_together)
        self.cache_key = cache_key
        self.listed_by = listed_by
        self.ttl = ttl
        self.admin = admin
        self.exported = exported
        self.pruned = pruned
        self.prepare = prepare
        self.transform = transform
        self.shown_once = shown_once
        self.check = check
        self.check_delete = check_delete
        self.dao = dao
        self.fields: Mapping[str, Field] = schema.shape
        self.foreign: dict[str, Foreign] = {
            field_name: field for field_name, field in schema.shape.items() if isinstance(field, Foreign)
        }
        self.unique: tuple[str, ...] = tuple(
            field_name
            for field_name, field in schema.shape.items()
            if field.attributes.get("unique") or field.attributes.get("unique_across_ws")
        )
        for field in schema.shape.values():
            limit(field)
        self.has_tags = "tags" in schema.shape
        self.has_updated_at = "updated_at" in schema.shape
        self._check_description()

    def _check_description(self) -> None:
        """Raises `ValueError` for names that are not fields, and for lists that cannot be kept."""
        named = {self.endpoint_key, self.nested_key, *self.cache_key, *self.listed_by, *self.shown_once} - {None}
        named |= {name for names in self.unique_together for name in names}
        unknown = sorted(str(name) for name in named if name not in self.fields)
        if "id" not in self.fields or unknown:
            raise ValueError(f"{self.name}: the schema has no field {', '.join(unknown) or 'id'}")
        if self.listed_by and self.ttl:
            raise ValueError(f"{self.name}: lists of entities that expire cannot be kept")

    @property
    def keys(self) -> tuple[str, ...]:
        """Fields by which one entity can be found besides the id."""
        if self.endpoint_key and self.endpoint_key not in self.unique:
            return (*self.unique, self.endpoint_key)
        return self.unique

    def __repr__(self) -> str:
        return f"Entity({self.name!r}, collection={self.collection!r})"
