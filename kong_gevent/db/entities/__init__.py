"""The core entities, one module each; `core` lists them in an order in which parents come before their children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.db.entities import (
    admin_tokens,
    audit_requests,
    ca_certificates,
    certificates,
    consumers,
    filter_chains,
    key_sets,
    keys,
    plugins,
    routes,
    services,
    snis,
    targets,
    upstreams,
    vaults,
)


def core(plugin_schemas: Mapping[str, Any]) -> list[Entity]:
    """Every entity that is there without plugins; `plugin_schemas` gives the plugin entity its sub-schemas."""
    return [
        certificates.entity(),
        ca_certificates.entity(),
        services.entity(),
        routes.entity(),
        consumers.entity(),
        plugins.entity(plugin_schemas),
        snis.entity(),
        upstreams.entity(),
        targets.entity(),
        vaults.entity(),
        key_sets.entity(),
        keys.entity(),
        filter_chains.entity(),
        admin_tokens.entity(),
        audit_requests.entity(),
    ]
