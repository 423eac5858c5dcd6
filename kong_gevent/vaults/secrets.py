"""The secrets that referenceable fields name, put in when a worker prepares what it serves; nothing else has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.schema import kinds
from kong_gevent.vaults import is_reference, parse, resolve
from kong_gevent.vaults.lookup import Vaults


class Secrets:
    """A worker's door to the vaults. `environ`: the variables of the vault `env`; `vaults`: the entities, by prefix."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.vaults: Vaults = {}

    def get(self, text: str) -> str:
        """The secret of a reference. Raises `Unresolved` naming the reference."""
        return resolve(parse(text), self.vaults, self._environ)

    def learn(self, vaults: Vaults) -> bool:
        """Take over the vault entities; whether anything has changed."""
        changed = dict(self.vaults) != dict(vaults)
        self.vaults = vaults
        return changed

    def filled(self, shape: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """A record with the secrets that its referenceable fields name, and whether there are any.

        Raises `Unresolved` naming the first reference that leads nowhere.
        """
        result, any_found = dict(values), False
        for name, field in shape.items():
            if name in result:
                result[name], found = self._value(field, result[name])
                any_found = any_found or found
        return result, any_found

    def _value(self, field: Any, value: Any) -> tuple[Any, bool]:
        if isinstance(value, str):
            if getattr(field, "referenceable", False) and is_reference(value):
                return self.get(value), True
            return value, False
        if isinstance(field, kinds.Record) and isinstance(value, Mapping):
            return self.filled(field.schema.shape, value)
        inner = field.elements if isinstance(field, kinds.Array) else getattr(field, "values", None)
        if isinstance(value, list) and isinstance(inner, kinds.Field):
            pairs = [self._value(inner, item) for item in value]
            return [item for item, _ in pairs], any(found for _, found in pairs)
        if isinstance(value, Mapping) and isinstance(inner, kinds.Field):
            entries = {key: self._value(inner, item) for key, item in value.items()}
            return {key: item for key, (item, _) in entries.items()}, any(found for _, found in entries.values())
        return value, False
