"""Schemas as documents, from which clients compute defaults, and validation without storing."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from flask import Blueprint, Response

from kong_gevent.admin.entities import typed_body
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer, message
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import Handler, add_path
from kong_gevent.db import DAO, Catalogue, Entity
from kong_gevent.db.entities.plugins import Plugins
from kong_gevent.db.entities.plugins import entity as plugin_entity
from kong_gevent.db.entities.vaults import Vaults
from kong_gevent.pdk.loader import load_announced
from kong_gevent.schema import document


class Schemas:
    """Documents and validation for the entities of the catalogue and for plugins."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node
        self._catalogue: Catalogue = node.store.catalogue

    def entity(self, name: str) -> Response:
        """`GET /schemas/{name}`."""
        entity = self._catalogue.get(name)
        if entity is None:
            return message(404, f"No entity named '{name}'")
        return answer(document(entity.schema))

    def plugin(self, name: str) -> Response:
        """`GET /schemas/plugins/{name}`: what the plugin itself declares."""
        shown = self._plugin(name)
        return message(404, f"No plugin named '{name}'") if shown is None else answer(shown)

    def vault(self, name: str) -> Response:
        """`GET /schemas/vaults/{name}`: what the type of vault itself declares."""
        shown = cast(Vaults, self._catalogue["vaults"].schema).own_fields(name)
        return message(404, f"No vault named '{name}'") if shown is None else answer(shown)

    def plugin_config(self, name: str) -> Response:
        """`GET /plugins/schema/{name}`: the settings only, as old clients want it."""
        shown = self._plugin(name)
        if shown is None:
            return message(404, f"No plugin named '{name}'")
        config: dict[str, Any] = next(field["config"] for field in shown["fields"] if "config" in field)
        return answer({key: value for key, value in config.items() if key not in ("type", "required", "description")})

    def _plugin(self, name: str) -> dict[str, Any] | None:
        enabled = cast(Plugins, self._catalogue["plugins"].schema).own_fields(name)
        return enabled or cast(Plugins, self._announced.schema).own_fields(name)

    def validate(self, db_entity_name: str) -> Response:
        """`POST /schemas/{name}/validate`: as a POST would, but without asking the store."""
        entity = self._catalogue.get(db_entity_name)
        if entity is None:
            return message(404, f"No entity named '{db_entity_name}'")
        if db_entity_name == "plugins":
            entity = self._known(entity)
        (entity.dao or DAO)(self._node.store, entity).validate_insert(typed_body(entity))
        return message(200, "schema validation successful")

    def _known(self, plugins: Entity) -> Entity:
        """The entity that knows the settings of the plugin in the body, even if it cannot be enabled yet."""
        name = current().sent.get("name")
        enabled = cast(Plugins, plugins.schema)
        if not isinstance(name, str) or enabled.of_plugin(name) is not None:
            return plugins
        announced = cast(Plugins, self._announced.schema).of_plugin(name)
        return plugins if announced is None else self._announced

    @cached_property
    def _announced(self) -> Entity:
        """Plugins of which only the settings are known; loaded when somebody asks."""
        return plugin_entity(load_announced())

    def validator(self, name: str) -> Handler:
        """`validate` for a fixed entity, for paths where a literal stands before it."""
        return lambda: self.validate(name)


def _no_filter(name: str) -> Response:
    return message(404, f"Filter '{name}' not found")


def blueprint(node: NodeFacade) -> Blueprint:
    """`/schemas/…` and `/plugins/schema/{name}`."""
    made = Blueprint("schemas", __name__)
    views = Schemas(node)
    add_path(made, "/schemas/<name>", {"GET": views.entity})
    add_path(made, "/schemas/<db_entity_name>/validate", {"POST": views.validate})
    add_path(made, "/schemas/plugins/<name>", {"GET": views.plugin})
    add_path(made, "/schemas/plugins/validate", {"POST": views.validator("plugins")})
    add_path(made, "/schemas/vaults/<name>", {"GET": views.vault})
    add_path(made, "/schemas/vaults/validate", {"POST": views.validator("vaults")})
    add_path(made, "/schemas/filters/<name>", {"GET": _no_filter})
    add_path(made, "/plugins/schema/<name>", {"GET": views.plugin_config})
    return made
