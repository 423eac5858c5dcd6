"""What a classic client asks about the node and its plugins."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Response

from kong_gevent.admin.classic import secured, ssl, tables
from kong_gevent.admin.classic.described import INFORMATION
from kong_gevent.admin.classic.faults import Refused
from kong_gevent.admin.classic.fields import Field as ClassicField
from kong_gevent.admin.classic.fields import Values
from kong_gevent.admin.classic.views import add_path, shown
from kong_gevent.admin.node import SERVER_COUNTERS, NodeFacade
from kong_gevent.admin.routing import Handler
from kong_gevent.db.entities.plugins import Plugins
from kong_gevent.schema.checks import put
from kong_gevent.schema.kinds import Array, Field, Map, Number, Record

VERSION = "0.5.4"
"""The release whose language this API speaks."""


class Information:
    """Facts about the node."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def root(self) -> Response:
        """`GET /`."""
        configured = {row["name"] for row in self._node.store.dao("plugins").each()}
        if secured.any_of(self._node.store):
            configured.add(ssl.NAME)
        return shown(
            {
                "tagline": "Welcome to Kong",
                "version": VERSION,
                "hostname": self._node.hostname,
                "plugins": {"available_on_server": self._plugins(), "enabled_in_cluster": sorted(configured)},
                "lua_version": f"{platform.python_implementation()} {platform.python_version()}",
            }
        )

    def status(self) -> Response:
        """`GET /status`: seven numbers."""
        counted = self._node.statistics()
        return shown({name: counted.get(name, 0) for name in SERVER_COUNTERS})

    def enabled(self) -> Response:
        """`GET /plugins/enabled`."""
        return shown({"enabled_plugins": self._plugins()})

    def _plugins(self) -> list[str]:
        return sorted({*self._node.plugins, *tables.OWN})

    def schema(self, name: str) -> Response:
        """`GET /plugins/schema/{name}`: the settings that the classic API knows."""
        name = tables.OLD_NAMES.get(name, name)
        if name in tables.OWN:
            return shown({"fields": {field.name: _told(field) for field in tables.OWN[name]}, "no_consumer": True})
        schema = cast(Plugins, self._node.store.catalogue["plugins"].schema).of_plugin(name)
        if schema is None:
            raise Refused(404, {"message": f"No plugin named '{name}'"})
        shape = tables.SHAPES.get(name)
        config = cast(Record, schema.shape["config"]).schema.shape
        names = shape.fields if shape is not None else {field: field for field in config}
        body: Values = {"fields": {}}
        for old, new in names.items():
            branch, dot, rest = old.partition(".")
            path = f"{branch}.schema.fields.{rest}" if dot else old
            if dot:
                body["fields"].setdefault(branch, {"type": "table", "schema": {"fields": {}}})
            told = _described(_field(config, new), shape is not None and old in shape.single)
            if shape is not None and old in shape.defaults:
                told["default"] = shape.defaults[old]
            put(body["fields"], path, told)
        if (shape is not None and shape.no_consumer) or schema.shape["consumer"].must_be_null:
            body["no_consumer"] = True
        return shown(body)


def _told(field: ClassicField) -> Values:
    """The settings of plugins that are none today are switches, off unless given, or required."""
    return {"type": field.type, "required": True} if field.required else {"type": field.type, "default": False}


def _field(shape: Mapping[str, Field], path: str) -> Field | None:
    name, _, rest = path.partition(".")
    field = shape.get(name)
    return _field(field.schema.shape, rest) if rest and isinstance(field, Record) else field


def _described(field: Field | None, single: bool) -> Values:
    """A field's type, whether it must be given, its default and its values."""
    if isinstance(field, Array) and single:
        field = field.elements
    if field is None:
        return {"type": "string"}
    kind = field.type_name
    if isinstance(field, Number):
        kind = "number"
    elif isinstance(field, (Array, Map, Record)):
        kind = "array" if isinstance(field, Array) else "table"
    element: Any = field.elements if isinstance(field, Array) else field
    told: Values = {"type": kind}
    if field.wanted and not field.auto and "default" not in field.attributes and not single:
        told["required"] = True
    if field.attributes.get("default") is not None:
        told["default"] = field.attributes["default"]
    if "one_of" in element.attributes:
        told["enum"] = list(element.attributes["one_of"])
    return told


def register(blueprint: Blueprint, node: NodeFacade) -> None:
    """Add the paths."""
    views = Information(node)
    handlers: Mapping[str, Handler] = {
        "/": views.root,
        "/status": views.status,
        "/plugins/enabled": views.enabled,
        "/plugins/schema/<name>": views.schema,
        "/plugins/<name>/schema": views.schema,
    }
    for path, handler in handlers.items():
        add_path(blueprint, path, {"GET": handler}, INFORMATION[path])
