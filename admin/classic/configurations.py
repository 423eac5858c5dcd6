"""What configurations of all plugins have in common: their fields, and that they are on an API."""

from __future__ import annotations

from typing import Any

from kong_gevent.admin.classic import faults
from kong_gevent.admin.classic.apis import Apis
from kong_gevent.admin.classic.fields import IDENTITY, Field, Values
from kong_gevent.admin.classic.kinds import Kind
from kong_gevent.db import Store
from kong_gevent.schema import merge

EXISTS = "Plugin configuration already exists"


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


class Configurations(Kind):
    """Configurations kept as one kind of entity."""

    def __init__(self, store: Store, entity: str, apis: Apis, settings: str) -> None:
        super().__init__(store, entity, fields(settings))
        self._apis = apis
        self._settings = settings

    def merged(self, old: Values, patch: Values) -> Values:
        """Settings are merged key by key."""
        values = super().merged(old, patch)
        if self._settings in patch and isinstance(patch[self._settings], dict):
            values[self._settings] = merge(old[self._settings], patch[self._settings])
        return values

    def _refuse_consumer(self, values: Values) -> None:
        if values.get("consumer_id"):
            raise faults.invalid({"message": "No consumer can be configured for that plugin"})

    def _require_api(self, values: Values) -> None:
        if not self._apis.exists(values["api_id"]):
            raise faults.Refused(404, {"api_id": faults.missing("api_id", values["api_id"])})

    def _wrong(self, errors: dict[str, Any]) -> faults.Refused:
        """The answer to settings that are wrong."""
        return faults.invalid({f"{self._settings}.{path}": text for path, text in errors.items()})
