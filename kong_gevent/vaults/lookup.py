"""From a reference to its secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kong_gevent.vaults import env
from kong_gevent.vaults.reference import Reference, Unresolved

TYPES = {env.NAME: env.get}
"""Type of vault → what reads one secret of it."""
Vaults = Mapping[str, Mapping[str, Any]]
"""Prefix → vault entity."""


def type_of(reference: Reference, vaults: Vaults) -> tuple[str, Mapping[str, Any]]:
    """Type and settings of the vault that a reference names. Raises `Unresolved`."""
    if reference.vault in TYPES:
        return reference.vault, {}
    entity = vaults.get(reference.vault)
    if entity is None:
        raise Unresolved(f"'{reference.text}' cannot be resolved: there is no vault '{reference.vault}'")
    if entity["name"] not in TYPES:
        raise Unresolved(f"'{reference.text}' cannot be resolved: vault '{entity['name']}' is not installed")
    return entity["name"], entity["config"]


def resolve(reference: Reference, vaults: Vaults, environ: Mapping[str, str]) -> str:
    """The secret. Raises `Unresolved`."""
    name, config = type_of(reference, vaults)
    given = {option: value for option, value in reference.options.items() if value}
    secret, place = TYPES[name]({**config, **given}, reference.resource, reference.version, environ)
    if secret is None:
        raise Unresolved(f"'{reference.text}' cannot be resolved: {place} is not set")
    return secret if reference.key is None else _inside(reference, secret)


def _inside(reference: Reference, secret: str) -> str:
    try:
        value = json.loads(secret)[reference.key]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = f"'{reference.text}' cannot be resolved: the secret is not a JSON object with '{reference.key}'"
        raise Unresolved(text) from None
    return value if isinstance(value, str) else json.dumps(value)
