"""Entities and where they are kept: the catalogue, data access objects, strategies and migrations.

    store = open_store(settings, plugin_schemas)
    store.migrations.bootstrap(); store.connect()
    service = store.dao("services").insert({"host": "example.test"})

Entities are plain dicts in the shape of the Admin API; errors are the coded ones of `kong_gevent.errors`.
"""

from kong_gevent.db.catalogue import Catalogue, Entity, build
from kong_gevent.db.dao import DAO
from kong_gevent.db.paging import parse_tags
from kong_gevent.db.store import Store, open_store
from kong_gevent.db.strategies.base import Event
from kong_gevent.db.together import Batch, together

__all__ = ["DAO", "Batch", "Catalogue", "Entity", "Event", "Store", "build", "open_store", "parse_tags", "together"]
