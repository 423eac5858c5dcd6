"""plugins: configurations of plugins with their scope. Each plugin's own schema is a sub-schema, chosen by `name`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity, Reader
from kong_gevent.schema import Config, Errors, Record, fields
from kong_gevent.schema.fields import ALL_PROTOCOLS, HTTP_PROTOCOLS
from kong_gevent.schema.messages import REQUIRED

SCOPES = ("route", "service", "consumer")
_ALLOWED = {"http-only": HTTP_PROTOCOLS, "any": ALL_PROTOCOLS}
_ROUTE_TEXT = "must match the associated route's protocols"
_SERVICE_TEXT = "must match the protocols of at least one route pointing to this Plugin's service"


class Plugin(Record):
    """Schema of a plugin configuration, without what the plugin itself adds."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the plugin configuration."})
    created_at = fields.AutoTimestamp(metadata={"description": "When it was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When it was last changed (epoch seconds)."})
    name = fields.String(required=True, metadata={"description": "Name of the plugin."})
    instance_name = fields.Utf8Name(metadata={"description": "Unique name of this configuration."})
    route = fields.Foreign("routes", on_delete="cascade", metadata={"description": "Route it is limited to."})
    service = fields.Foreign("services", on_delete="cascade", metadata={"description": "Service it is limited to."})
    consumer = fields.Foreign("consumers", on_delete="cascade", metadata={"description": "Consumer it is limited to."})
    config = fields.Record({}, metadata={"description": "Settings of the plugin."})
    protocols = fields.Set(
        fields.Protocol(),
        required=True,
        load_default=list(HTTP_PROTOCOLS),
        metadata={"description": "Protocols of the requests for which the plugin runs."},
    )
    enabled = fields.Boolean(required=True, load_default=True, metadata={"description": "Whether the plugin runs."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


class Plugins(Plugin):
    """The entity's schema: picks the sub-schema of the plugin."""

    def __init__(self, plugin_schemas: Mapping[str, Any]) -> None:
        super().__init__()
        self._plugins = plugin_schemas
        self._variants: dict[str, Record] = {}

    def variant(self, data: Mapping[str, Any]) -> Record | Errors:
        """The plugin's schema; an error when there is no such plugin (nothing else is looked at then)."""
        name = data.get("name")
        if name is None:
            return {"name": REQUIRED}
        if not isinstance(name, str):
            return {"name": "expected a string"}
        known = self.of_plugin(name)
        if known is None:
            return {"name": f"plugin '{name}' not enabled; add it to the 'plugins' configuration property"}
        return known

    def of_plugin(self, name: str) -> Record | None:
        """The complete schema of one plugin's configurations."""
        if name not in self._variants:
            plugin = self._plugins.get(name)
            if plugin is None:
                return None
            self._variants[name] = _variant(plugin)()
        return self._variants[name]

    def names(self) -> Iterable[str]:
        """Names of the plugins that there are."""
        return self._plugins.keys()

    def own_fields(self, name: str) -> dict[str, Any] | None:
        """What a plugin itself declares, as `/schemas/plugins/{name}` shows it; None for an unknown plugin."""
        from kong_gevent.schema.document import attributes_of

        schema = self.of_plugin(name)
        if schema is None:
            return None
        forbidden = tuple(getattr(self._plugins[name], "forbidden_scopes", ()))
        shown = [scope for scope in reversed(SCOPES) if scope in forbidden]
        return {
            "fields": [{key: attributes_of(schema.shape[key])} for key in (*shown, "protocols", "config")],
            "entity_checks": [check.document() for check in schema.checks],
        }

    def expand(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], Errors]:
        """Old names in `config` are expanded by the plugin's schema."""
        variant = self.variant(data)
        return variant.expand(data) if isinstance(variant, Record) else (dict(data), {})

    def fill(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Settings that the plugin gained since are filled by its schema; those of a plugin that is gone stay."""
        known = self.of_plugin(str(stored.get("name")))
        return known.fill(stored) if known else stored

    def render(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Old names in `config` are shown by the plugin's schema; a plugin that is gone shows what is stored."""
        known = self.of_plugin(str(stored.get("name")))
        return known.render(stored) if known else dict(stored)


def _variant(plugin: Any) -> type[Record]:
    """A schema class for one plugin: its config, its protocols, the scopes it forbids."""
    config: type[Config] = plugin.config
    allowed = getattr(plugin, "protocols_allowed", "http-only")
    if isinstance(allowed, str):
        allowed = _ALLOWED[allowed]
    members: dict[str, Any] = {
        "config": fields.Record(config, metadata={"description": "Settings of the plugin."}),
        "protocols": fields.Set(
            fields.String(one_of=list(allowed)),
            required=True,
            load_default=list(getattr(plugin, "protocols", HTTP_PROTOCOLS)),
            metadata={"description": "Protocols of the requests for which the plugin runs."},
        ),
        "checks": tuple(config.checks),
    }
    for scope in getattr(plugin, "forbidden_scopes", ()):
        field: fields.Field = Plugin._declared_fields[scope]  # type: ignore[assignment]
        members[scope] = field.copy_with(eq=None)
    return type(f"{config.__name__}Plugin", (Plugin,), members)


def protocols_match(values: dict[str, Any], reader: Reader) -> Errors:
    """A plugin must share a protocol with its route, or with a route of its service (which may have none yet)."""
    wanted = set(values["protocols"])
    if values["route"]:
        route = reader.get("routes", values["route"]["id"])
        if route and wanted.isdisjoint(route["protocols"]):
            return {"protocols": _ROUTE_TEXT}
    elif values["service"]:
        found = False
        for route in reader.children("routes", "service", values["service"]["id"]):
            if not wanted.isdisjoint(route["protocols"]):
                return {}
            found = True
        if found:
            return {"protocols": _SERVICE_TEXT}
    return {}


def entity(plugin_schemas: Mapping[str, Any]) -> Entity:
    """The catalogue's entry."""
    return Entity(
        "plugins",
        Plugins(plugin_schemas),
        nested="plugins",
        endpoint_key="instance_name",
        unique_together=(("name", "route", "service", "consumer"),),
        cache_key=("name", "route", "service", "consumer"),
        check=protocols_match,
    )
