"""vaults: where references to secrets lead. Each type of vault has its own settings, chosen by `name`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Errors, Record, fields
from kong_gevent.schema.document import attributes_of
from kong_gevent.schema.messages import REQUIRED


class EnvConfig(Record):
    """Settings of the vault that reads environment variables."""

    prefix = fields.String(
        match="^[%a_-][%w_-]*$", metadata={"description": "What the names of the variables begin with."}
    )


TYPES: Mapping[str, type[Record]] = {"env": EnvConfig}
"""Type of vault → its settings."""


class Vault(Record):
    """Schema of a vault, without the settings of its type."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the vault."})
    prefix = fields.String(
        required=True,
        unique_across_ws=True,
        not_one_of=list(TYPES),
        match="^[a-z][a-z%d-]-[a-z%d]+$",
        metadata={"description": "Unique name that references begin with; not that of a type."},
    )
    name = fields.String(required=True, metadata={"description": "Type of the vault."})
    description = fields.String(metadata={"description": "What the vault is for."})
    config = fields.Record({}, metadata={"description": "Settings of the type."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the vault was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the vault was last changed (epoch seconds)."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


class Vaults(Vault):
    """The entity's schema: picks the sub-schema of the type."""

    def __init__(self) -> None:
        super().__init__()
        self._variants: dict[str, Record] = {name: _variant(config)() for name, config in TYPES.items()}

    def variant(self, data: Mapping[str, Any]) -> Record | Errors:
        """The type's schema; an error when there is no such type (nothing else is looked at then)."""
        name = data.get("name")
        if name is None:
            return {"name": REQUIRED}
        if not isinstance(name, str):
            return {"name": "expected a string"}
        return self._variants.get(name) or {"name": f"vault '{name}' is not installed"}

    def names(self) -> Iterable[str]:
        """The types that there are."""
        return self._variants.keys()

    def fill(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Settings that the type gained since are filled by its schema."""
        known = self._variants.get(str(stored.get("name")))
        return known.fill(stored) if known else stored

    def own_fields(self, name: str) -> dict[str, Any] | None:
        """What a type itself declares, as `/schemas/vaults/{name}` shows it; None for an unknown type."""
        schema = self._variants.get(name)
        if schema is None:
            return None
        return {"fields": [{"config": attributes_of(schema.shape["config"])}], "entity_checks": []}


def _variant(config: type[Record]) -> type[Record]:
    settings = fields.Record(config, metadata={"description": "Settings of the type."})
    return type(f"{config.__name__}Vault", (Vault,), {"config": settings})


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("vaults", Vaults(), endpoint_key="prefix", cache_key=("prefix",))
