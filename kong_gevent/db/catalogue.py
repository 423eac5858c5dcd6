"""The catalogue: one description per entity, from which storage, endpoints, documents and cascades derive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_gevent.errors import ConfigurationError
from kong_gevent.schema.entity import Entity, Reader
from kong_gevent.schema.kinds import Foreign

__all__ = ["Catalogue", "Entity", "Reader", "build"]


class Catalogue(dict[str, Entity]):
    """Entities by name. Raises `ValueError` for a name or a collection that is taken."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        super().__init__()
        for entity in entities:
            if entity.name in self:
                raise ValueError(f"there is an entity named {entity.name} already")
            if self.by_collection(entity.collection):
                raise ValueError(f"there are entities at /{entity.collection} already")
            self[entity.name] = entity
        self.referrers: dict[str, list[tuple[Entity, str, Foreign]]] = {name: [] for name in self}
        for entity in self.values():
            for field_name, field in entity.foreign.items():
                if field.reference in self:
                    self.referrers[field.reference].append((entity, field_name, field))

    def by_collection(self, collection: str) -> Entity | None:
        """The entity whose list is at `/collection`."""
        return next((entity for entity in self.values() if entity.collection == collection), None)


def build(plugin_schemas: Mapping[str, Any]) -> Catalogue:
    """The catalogue of this build: the core entities, and those that plugins bring.

    `plugin_schemas`: plugin name → object with `config` (a `Config` class), `forbidden_scopes`, `protocols`,
    `protocols_allowed`, `version`, `priority` and optionally `entities` (a sequence of `Entity`). Raises
    `ConfigurationError` when two of them cannot be there together.
    """
    from kong_gevent.db.entities import core  # the modules of the entities import this one

    entities = core(plugin_schemas)
    for plugin in plugin_schemas.values():
        entities += getattr(plugin, "entities", ())
    try:
        return Catalogue(entities)
    except ValueError as error:
        raise ConfigurationError(f"plugins: they cannot be there together: {error}") from None
