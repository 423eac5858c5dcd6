"""The catalogue: one description per entity, from which storage, endpoints, documents and cascades derive.

A new entity is one module with an `Entity`; a plugin may bring more (`build(…, extra=…)`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kong_gevent.schema import Errors, Record
from kong_gevent.schema.kinds import Field, Foreign

if TYPE_CHECKING:
    from kong_gevent.db.dao import DAO


class Reader(Protocol):
    """What a cross-entity check may ask the store."""

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        """An entity by id."""

    def children(self, entity: str, field: str, parent_id: str) -> Iterable[dict[str, Any]]:
        """Entities whose foreign field refers to a parent."""

    def each(self, entity: str) -> Iterable[dict[str, Any]]:
        """All entities of a kind."""


CrossCheck = Callable[[dict[str, Any], Reader], Errors]
DeleteCheck = Callable[[Mapping[str, Any], Reader], None]
Preparer = Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]]


class Entity:
    """Description of one kind of entity.

    `schema`: its fields and checks; `collection`: path of the list; `nested`: last part of the path below a parent
    (None: not there); `endpoint_key`: field that may stand for the id in a path; `nested_key`: field that may do so
    below a parent, with which it is unique; `unique_together`: combinations that exist once (null counts as a value
    there); `cache_key`: fields by which nodes cache it; `ttl`: rows may expire; `admin`: whether the Admin API offers
    it; `prepare(values, stored)`: rewriting before validation; `check(values, reader)`: errors that need other
    entities; `check_delete(values, reader)`: raises what keeps an entity from being deleted; `dao`: its data access,
    where it has habits of its own; `plugin`: name of the plugin that brought it.
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
        ttl: bool = False,
        admin: bool = True,
        prepare: Preparer | None = None,
        check: CrossCheck | None = None,
        check_delete: DeleteCheck | None = None,
        dao: type[DAO] | None = None,
        plugin: str | None = None,
    ) -> None:
        self.name = name
        self.schema = schema
        self.collection = collection or name
        self.nested = nested
        self.endpoint_key = endpoint_key
        self.nested_key = nested_key
        self.unique_together = tuple(unique_together)
        self.cache_key = cache_key
        self.ttl = ttl
        self.admin = admin
        self.prepare = prepare
        self.check = check
        self.check_delete = check_delete
        self.dao = dao
        self.plugin = plugin
        self.primary_key = ("id",)
        self.fields: Mapping[str, Field] = schema.shape
        self.foreign: dict[str, Foreign] = {
            field_name: field for field_name, field in schema.shape.items() if isinstance(field, Foreign)
        }
        self.unique: tuple[str, ...] = tuple(
            field_name
            for field_name, field in schema.shape.items()
            if field.attributes.get("unique") or field.attributes.get("unique_across_ws")
        )
        self.has_tags = "tags" in schema.shape
        self.has_updated_at = "updated_at" in schema.shape

    @property
    def keys(self) -> tuple[str, ...]:
        """Fields by which one entity can be found besides the id."""
        if self.endpoint_key and self.endpoint_key not in self.unique:
            return (*self.unique, self.endpoint_key)
        return self.unique

    def __repr__(self) -> str:
        return f"Entity({self.name!r}, collection={self.collection!r})"


class Catalogue(dict[str, Entity]):
    """Entities by name. Raises `ValueError` for a name that is taken or a reference to an unknown entity."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        super().__init__()
        for entity in entities:
            if entity.name in self:
                raise ValueError(f"there is an entity named {entity.name} already")
            self[entity.name] = entity
        self.referrers: dict[str, list[tuple[Entity, str, Foreign]]] = {name: [] for name in self}
        for entity in self.values():
            for field_name, field in entity.foreign.items():
                if field.reference in self:
                    self.referrers[field.reference].append((entity, field_name, field))

    def by_collection(self, collection: str) -> Entity | None:
        """The entity whose list is at `/collection`."""
        return next((entity for entity in self.values() if entity.collection == collection), None)


def build(plugin_schemas: Mapping[str, Any], extra: Iterable[Entity] = ()) -> Catalogue:
    """The catalogue of this build: the core entities, and those that plugins bring.

    `plugin_schemas`: plugin name → object with `config` (a `Config` class), `forbidden_scopes`, `protocols`,
    `protocols_allowed`, `version`, `priority` and optionally `entities` (a sequence of `Entity`).
    """
    from kong_gevent.db.entities import core  # the modules of the entities import this one

    entities = [*core(plugin_schemas), *extra]
    known = {entity.name for entity in entities}
    for plugin in plugin_schemas.values():
        for entity in getattr(plugin, "entities", ()):
            if entity.name not in known:
                known.add(entity.name)
                entities.append(entity)
    return Catalogue(entities)
