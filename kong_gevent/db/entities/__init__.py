"""The core entities, one module each; `core` lists them in an order in which parents come before their children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.db.entities import consumers, keyauth_credentials, plugins, routes, services


def core(plugin_schemas: Mapping[str, Any]) -> list[Entity]:
    """Every entity that is there without plugins; `plugin_schemas` gives the plugin entity its sub-schemas."""
    return [
        services.entity(),
        routes.entity(),
        consumers.entity(),
        plugins.entity(plugin_schemas),
        keyauth_credentials.entity(),
    ]
