"""The entity endpoints of the Admin API, made from the store's catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint

from kong_gevent.admin.entities import EntityViews
from kong_gevent.admin.nested import NestedViews, ReferenceViews
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.overrides import NESTED, REFERENCES, VIEWS


def blueprints(node: NodeFacade) -> Iterator[Blueprint]:
    """One blueprint per entity of the store's catalogue that has an Admin API."""
    catalogue = node.store.catalogue
    views = {name: VIEWS.get(name, EntityViews)(node, name) for name, entity in catalogue.items() if entity.admin}
    for name, own in views.items():
        made = Blueprint(f"entity:{name}", __name__)
        own.register(made)
        for field, foreign in own.entity.foreign.items():
            parent = views.get(foreign.reference)
            if parent is not None:
                NESTED.get((name, field), NestedViews)(own, parent, field).register(made)
                REFERENCES.get((name, field), ReferenceViews)(own, parent, field).register(made)
        yield made
