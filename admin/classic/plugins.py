"""Plugin configurations: those of services that are APIs, with their settings in the classic shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kong_gevent.admin.classic import faults, tables
from kong_gevent.admin.classic.apis import Apis
from kong_gevent.admin.classic.fields import IDENTITY, Field, Values
from kong_gevent.admin.classic.kinds import Kind
from kong_gevent.db import Store
from kong_gevent.db.entities.plugins import Plugins
from kong_gevent.errors import SchemaViolation, UniqueViolation
from kong_gevent.schema import infer, merge
from kong_gevent.schema.checks import get, put
from kong_gevent.schema.kinds import Array
from kong_gevent.schema.kinds import Field as SchemaField
from kong_gevent.schema.kinds import Record as SchemaRecord
from kong_gevent.schema.messages import ENTITY
from kong_gevent.schema.record import Record

_PLAIN = tables.Shape()


def fields(settings: str) -> tuple[Field, ...]:
    """The fields of a configuration; `settings` is the name of its settings (`value` before 0.5)."""
    alias = ("value",) if settings == "config" else ("config",)
    return (
        *IDENTITY,
        Field("api_id", "id", source="service", required=True, reference=True, queryable=True),
        Field("consumer_id", "id", source="consumer", reference=True, queryable=True),
        Field("name", required=True, immutable=True, queryable=True),
        Field(settings, "table", source="config", aliases=alias),
        Field("enabled", "boolean"),
    )


class PluginConfigurations(Kind):
    """Plugins on APIs; those of wider or narrower scopes cannot be said here and are not shown."""

    def __init__(self, store: Store, apis: Apis, settings: str = "config") -> None:
        super().__init__(store, "plugins", fields(settings))
        self._apis = apis
        self._settings = settings
        self._schema = cast(Plugins, self.dao.entity.schema)

    # Reading

    def show(self, row: Mapping[str, Any]) -> Values | None:
        """A plugin in its classic shape; None when it is on no API, or on a route of one only."""
        if row["service"] is None or row["route"] is not None or not self._apis.exists(row["service"]["id"]):
            return None
        shown = super().show(row)
        assert shown is not None
        shown[self._settings] = classic_config(row["name"], row["config"])
        return shown

    def of_api(self, api: str, identifier: str) -> Values | None:
        """A configuration of one API by its id, or by the name of its plugin."""
        found = self.find(identifier)
        if found is None:
            name = tables.OLD_NAMES.get(identifier, identifier)
            rows = self.dao.each(parent=("service", api))
            found = next((shown for row in rows if row["name"] == name and (shown := self.show(row))), None)
        return found if found is not None and found["api_id"] == api else None

    # Writing

    def insert(self, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today."""
        return super().insert(_renamed(given))

    def replace(self, old: Values, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today."""
        return super().replace(old, _renamed(given))

    def change(self, old: Values, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today."""
        return super().change(old, _renamed(given))

    def merged(self, old: Values, patch: Values) -> Values:
        """Settings are merged key by key."""
        values = super().merged(old, patch)
        if self._settings in patch and isinstance(patch[self._settings], dict):
            values[self._settings] = merge(old[self._settings], patch[self._settings])
        return values

    def checked(self, values: Values, old: Values | None) -> Values:
        """Settings that the plugin accepts, on an API that exists."""
        values = super().checked(values, old)
        name = values["name"]
        schema = self._schema.of_plugin(name)
        if schema is None:
            raise faults.invalid({self._settings: f'Plugin "{name}" not found'})
        shape = tables.SHAPES.get(name, _PLAIN)
        if values.get("consumer_id") and (shape.no_consumer or schema.shape["consumer"].must_be_null):
            raise faults.invalid({"message": "No consumer can be configured for that plugin"})
        given = values.get(self._settings) or {}
        values[self._settings] = given = {**shape.defaults, **given}
        errors = _unknown(shape, given)
        if errors:
            raise faults.invalid({f"{self._settings}.{path}": text for path, text in errors.items()})
        self._check_settings(schema, shape, values)
        if not self._apis.exists(values["api_id"]):
            raise faults.Refused(404, {"api_id": faults.missing("api_id", values["api_id"])})
        return values

    def _check_settings(self, schema: Record, shape: tables.Shape, values: Values) -> None:
        """Field by field first, then as a whole, in the classic words."""
        entity = self.entity(values)
        result, errors = schema.run(entity)
        if _names_fields(errors):
            raise self._fault(errors, entity, values)
        text = shape.check(result.get("config") or entity.get("config") or {})
        if text is not None:
            raise faults.invalid({self._settings: text})
        if errors:
            raise self._fault(errors, entity, values)

    def entity(self, values: Values) -> Values:
        """With the settings in today's shape, typed by the plugin's schema."""
        made = super().entity(values)
        if "config" in made:
            made["config"] = self._config_of(values.get("name"), values.get(self._settings) or {})
        return made

    def _config_of(self, name: Any, given: Mapping[str, Any]) -> Values:
        schema = self._schema.of_plugin(name)
        config = modern_config(name, given)
        if schema is None:
            return config
        field = schema.shape["config"]
        split: Values = _split(field, config)
        typed: Values = infer(schema, {"name": name, "config": split})["config"]
        return typed

    # Errors

    def schema_fault(self, error: SchemaViolation, values: Values) -> faults.Refused:
        """With the classic names of settings."""
        return self._fault(error.fields, self.entity(values), values)

    def taken(self, error: UniqueViolation) -> faults.Refused:
        """One configuration per plugin, API and consumer."""
        return faults.Refused(409, {"message": "Plugin configuration already exists"})

    def _fault(self, errors: Mapping[Any, Any], entity: Values, values: Values) -> faults.Refused:
        shape = tables.SHAPES.get(values["name"], _PLAIN)
        names = {f"config.{new}": f"{self._settings}.{old}" for old, new in shape.fields.items()}

        def rename(path: str) -> str:
            return self._settings if path == "message" else names.get(path) or self.renamed(path)

        return faults.invalid(faults.flat(errors, entity, rename))


def _names_fields(errors: Mapping[Any, Any]) -> bool:
    """Whether single fields are wrong, not only the settings as a whole."""
    settings = errors.get("config")
    inside = isinstance(settings, Mapping) and set(settings) != {ENTITY}
    return inside or not set(errors) <= {ENTITY, "config"}


def _renamed(given: Mapping[str, Any]) -> Values:
    values = dict(given)
    if isinstance(values.get("name"), str):
        values["name"] = tables.OLD_NAMES.get(values["name"], values["name"])
    return values


def classic_config(name: str, config: Mapping[str, Any]) -> Values:
    """Today's settings in the classic shape: what it has no name for, and what is unset, is left out."""
    shape = tables.SHAPES.get(name)
    if shape is None:
        return {key: value for key, value in config.items() if value is not None}
    shown: Values = {}
    for old, new in shape.fields.items():
        value = get(config, new)
        if old in shape.single and isinstance(value, list):
            value = value[0] if value else None
        if value is not None and not ("." in old and value == []):
            put(shown, old, value)
    return shown


def modern_config(name: Any, given: Mapping[str, Any]) -> Values:
    """Classic settings in today's shape; unknown names stay for the schema to refuse."""
    shape = tables.SHAPES.get(name)
    if shape is None:
        return dict(given)
    made: Values = {}
    for old, new in shape.fields.items():
        top, _, rest = old.partition(".")
        inner = given.get(top)
        if rest and not isinstance(inner, Mapping):
            if inner is not None:
                made[top] = inner
            continue
        value = get(given, old)
        if value is None and old not in given:
            continue
        put(made, new, [value] if old in shape.single and value else value)
    return made


def _unknown(shape: tables.Shape, given: Mapping[str, Any]) -> dict[str, str]:
    """Settings that the plugin did not have."""
    if not shape.fields:
        return {}
    known = set(shape.fields)
    branches = {name.partition(".")[0] for name in known if "." in name}
    found: dict[str, str] = {}
    for name, value in given.items():
        if name in branches and isinstance(value, Mapping):
            inner = {f"{name}.{key}": key for key in value}
            found.update({path: f"{key} is an unknown field" for path, key in inner.items() if path not in known})
        elif name not in known and name not in branches:
            found[name] = f"{name} is an unknown field"
    return found


def _split(field: SchemaField, value: Any) -> Any:
    """Texts for arrays cut at their commas; the empty text is an empty array."""
    if isinstance(field, Array) and isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value else []
    if isinstance(field, SchemaRecord) and isinstance(value, Mapping):
        shape = field.schema.shape
        return {name: _split(shape[name], item) if name in shape else item for name, item in value.items()}
    return value
