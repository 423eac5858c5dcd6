"""Plugin configurations: those of services that are APIs, with their settings in the classic shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kong_gevent.admin.classic import faults, ssl, tables
from kong_gevent.admin.classic.apis import Apis
from kong_gevent.admin.classic.configurations import EXISTS, Configurations
from kong_gevent.admin.classic.fields import Values
from kong_gevent.admin.classic.kinds import Page
from kong_gevent.db import Store, paging
from kong_gevent.db.entities.plugins import Plugins
from kong_gevent.errors import SchemaViolation, UniqueViolation
from kong_gevent.schema import infer
from kong_gevent.schema.checks import get, put
from kong_gevent.schema.kinds import Array
from kong_gevent.schema.kinds import Field as SchemaField
from kong_gevent.schema.kinds import Record as SchemaRecord
from kong_gevent.schema.messages import ENTITY
from kong_gevent.schema.record import Record
from kong_gevent.schema.rules import is_uuid

_PLAIN = tables.Shape()


class PluginConfigurations(Configurations):
    """Plugins on APIs; those of wider or narrower scopes cannot be said here and are not shown.

    Those of `ssl` are among them, though today that is no plugin.
    """

    def __init__(self, store: Store, apis: Apis, settings: str = "config") -> None:
        super().__init__(store, "plugins", apis, settings)
        self._schema = cast(Plugins, self.dao.entity.schema)
        self._ssl = ssl.SslConfigurations(store, apis, settings)

    # Reading

    def by_id(self, key: str) -> Values | None:
        """Of either kind."""
        return super().by_id(key) or self._ssl.by_id(key)

    def pages(self, filters: Mapping[str, Any]) -> Page:
        """Both kinds in the order of their ids."""
        plugins = super().pages(filters)
        if "consumer_id" in filters:  # which `ssl` never has
            return plugins
        return both(plugins, self._ssl.pages(filters))

    def show(self, row: Mapping[str, Any]) -> Values | None:
        """A plugin in its classic shape; None when it is on no API, or on a route of one only."""
        if "cert" in row:
            return self._ssl.show(row)
        if row["service"] is None or row["route"] is not None or not self._apis.exists(row["service"]["id"]):
            return None
        shown = super().show(row)
        assert shown is not None
        shown[self._settings] = classic_config(row["name"], row["config"])
        return shown

    def of_api(self, api: str, identifier: str) -> Values | None:
        """A configuration of one API by its id, or by the name of its plugin."""
        found = self.find(identifier)
        if found is None and identifier == ssl.NAME:
            return self._ssl.of_api(api)
        if found is None:
            name = tables.OLD_NAMES.get(identifier, identifier)
            rows = self.dao.each(parent=("service", api))
            found = next((shown for row in rows if row["name"] == name and (shown := self.show(row))), None)
        return found if found is not None and found["api_id"] == api else None

    # Writing

    def insert(self, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today, and an id that the other kind does not have either."""
        key = given.get("id")
        if is_uuid(key) and self.by_id(str(key)) is not None:
            raise faults.Refused(409, {"id": faults.exists("id", key)})
        if given.get("name") == ssl.NAME:
            return self._ssl.insert(given)
        return super().insert(_renamed(given))

    def replace(self, old: Values, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today."""
        if old["name"] == ssl.NAME:
            return self._ssl.replace(old, given)
        return super().replace(old, _renamed(given))

    def change(self, old: Values, given: Mapping[str, Any]) -> Values:
        """With the plugin's name of today."""
        if old["name"] == ssl.NAME:
            return self._ssl.change(old, given)
        return super().change(old, _renamed(given))

    def remove(self, old: Values) -> None:
        """Of either kind."""
        if old["name"] == ssl.NAME:
            self._ssl.remove(old)
        else:
            super().remove(old)

    def checked(self, values: Values, old: Values | None) -> Values:
        """Settings that the plugin accepts, on an API that exists."""
        values = super().checked(values, old)
        name = values["name"]
        schema = self._schema.of_plugin(name)
        if schema is None:
            raise faults.invalid({self._settings: f'Plugin "{name}" not found'})
        shape = tables.SHAPES.get(name, _PLAIN)
        if shape.no_consumer or schema.shape["consumer"].must_be_null:
            self._refuse_consumer(values)
        given = values.get(self._settings) or {}
        values[self._settings] = given = {**shape.defaults, **given}
        errors = _unknown(shape, given)
        if errors:
            raise self._wrong(errors)
        self._check_settings(schema, shape, values)
        self._require_api(values)
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
        return faults.Refused(409, {"message": EXISTS})

    def _fault(self, errors: Mapping[Any, Any], entity: Values, values: Values) -> faults.Refused:
        shape = tables.SHAPES.get(values["name"], _PLAIN)
        names = {f"config.{new}": f"{self._settings}.{old}" for old, new in shape.fields.items()}

        def rename(path: str) -> str:
            return self._settings if path == "message" else names.get(path) or self.renamed(path)

        return faults.invalid(faults.flat(errors, entity, rename))


def both(first: Page, second: Page) -> Page:
    """Rows of two kinds as one list, in the order of their ids."""

    def read(size: int, offset: str | None) -> tuple[list[Values], str | None]:
        pages = first(size, offset), second(size, offset)
        rows = sorted((row for rows, _ in pages for row in rows), key=lambda row: row["id"])
        more = len(rows) > size or any(token for _, token in pages)
        return rows[:size], paging.encode_offset([rows[:size][-1]["id"]]) if more else None

    return read


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
        return cast(Values, _without_nulls(config))
    shown: Values = {}
    for old, new in shape.fields.items():
        value = get(config, new)
        if old in shape.single and isinstance(value, list):
            value = value[0] if value else None
        if value is not None and not ("." in old and value == []):
            put(shown, old, _without_nulls(value))
    return shown


def _without_nulls(value: Any) -> Any:
    """Unset fields are absent at any depth."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


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
