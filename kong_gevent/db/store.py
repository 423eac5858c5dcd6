"""The open store: catalogue, data access, events and migrations of one datastore."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from kong_gevent.db import codec, rows
from kong_gevent.db.catalogue import Catalogue, build
from kong_gevent.db.dao import DAO
from kong_gevent.db.dryrun import overlay_of
from kong_gevent.db.migrations import Migrations
from kong_gevent.db.strategies.base import SIGNAL, Change, Event, Strategy
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.db.strategies.sqlite import SqliteStrategy
from kong_gevent.db.tags import TagsDAO
from kong_gevent.errors import ConfigurationError, DatabaseError, Overloaded

CONFIGURATION = ("configuration", "00000000-0000-4000-8000-000000000000")
"""Kind and id of the row that says which document a store was last made to hold."""
DOCUMENT_STORE = "dbless.sqlite3"
"""File, below the prefix, that holds the content of the last document when `database = off`."""


class Store:
    """One datastore with everything this build knows about its content.

    `read_only`: only whole documents change it, single entities cannot be written (`database = off`).
    `catalogue`: entity name → description; `daos` / `dao(name)`; `lookups`: DAOs for look-ups of single entities by
    proxied requests, which may read a replica; `tags`: the read-only list of tags; `migrations`; `origin`: who
    writes, as events tell it: the same for all workers of a node (set by the node).
    """

    def __init__(self, strategy: Strategy, catalogue: Catalogue, origin: str = "", *, read_only: bool = False) -> None:
        self._strategy = strategy
        self.read_only = read_only
        self.catalogue = catalogue
        self.origin = origin
        self.migrations = Migrations(strategy)
        self.reader = StoreReader(self)
        self.daos: dict[str, DAO] = {name: (entity.dao or DAO)(self, entity) for name, entity in catalogue.items()}
        nearby = strategy.lookups()
        self.lookups = self.daos if nearby is strategy else {
            name: (entity.dao or DAO)(self, entity, nearby) for name, entity in catalogue.items()
        }  # fmt: skip
        self.tags = TagsDAO(strategy)

    @property
    def strategy(self) -> Strategy:
        """The datastore; while a greenlet only tries what it writes, what it would be."""
        return overlay_of(self._strategy) or self._strategy  # type: ignore[return-value]

    def dao(self, name: str) -> DAO:
        """Data access for an entity. Raises `KeyError` for an unknown one."""
        return self.daos[name]

    @property
    def needs_bootstrap(self) -> bool:
        """Whether the store has no tables yet."""
        return self.migrations.state().needs_bootstrap

    def connect(self) -> None:
        """Open the store and check that its schema is the one of this version.

        Raises `MigrationError` (what to run) or `StoreUnavailable`. A memory store makes its tables itself, and so does
        one that only documents fill, as it can be filled again.
        """
        if (self.strategy.name == MemoryStrategy.name or self.read_only) and self.needs_bootstrap:
            self.migrations.bootstrap()
        if self.read_only and self.migrations.state().new:
            self.migrations.up()
            self.migrations.finish()
        self.migrations.check()
        self.strategy.connect()

    def close(self) -> None:
        """Release connections of this process."""
        self.strategy.close()

    def reachable(self) -> bool:
        """Whether the store answers now."""
        try:
            self.strategy.ping()
        except (DatabaseError, Overloaded):
            return False
        return True

    def signal(self, topic: str, text: str) -> None:
        """Tell all nodes something that is not stored; those that are up hear it once, with the events of changes."""
        self.strategy.commit([], [Change(topic, text, SIGNAL)], self.origin)

    def events_after(self, cursor: int, limit: int = 1000, settled: bool = False) -> list[Event]:
        """Events later than a cursor, in the order of the commits.

        `settled`: they include those of every commit of which something could be read before.
        Raises `EventsLost` when some are gone (or the store is another one): take `last_event_id`, then reload all.
        """
        return self.strategy.events_after(cursor, limit, settled)

    @property
    def configuration_hash(self) -> str | None:
        """The hash of the document that it was last made to hold as a whole; None before the first."""
        row = self.strategy.read(*CONFIGURATION)
        return codec.loads(row.body)["hash"] if row is not None else None

    def last_event_id(self) -> int:
        """Id of the newest event; 0 before the first."""
        return self.strategy.event_range()[1]


class StoreReader:
    """The read side for cross-entity checks: entities as they are stored."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        """An entity by id."""
        row = self._store.strategy.read(entity, key)
        return rows.decode(self._store.catalogue[entity], row) if row else None

    def children(self, entity: str, field: str, parent_id: str) -> Iterator[dict[str, Any]]:
        """Entities whose foreign field refers to a parent."""
        return self._store.dao(entity).each(100, parent=(field, parent_id))

    def each(self, entity: str) -> Iterator[dict[str, Any]]:
        """All entities of a kind."""
        return self._store.dao(entity).each()


def open_store(settings: Any, plugin_schemas: Mapping[str, Any]) -> Store:
    """The store that the settings name (`database`, `sqlite_path`, `prefix`); nothing is opened before it is used.

    `plugin_schemas`: plugin name → object with `config`, `forbidden_scopes`, `protocols`, `protocols_allowed` and
    `entities`. Raises `ConfigurationError` for a datastore that this build lacks, and for plugins that do not fit
    together.
    """
    strategy: Strategy
    read_only = settings.database == "off"
    if read_only:
        # What the workers of the node share, and what is left of the last document at the next start.
        strategy = SqliteStrategy(os.path.join(settings.prefix, DOCUMENT_STORE))
    elif settings.database == "sqlite":
        path = getattr(settings, "sqlite_path", None) or "kong.sqlite3"
        strategy = SqliteStrategy(os.path.join(settings.prefix, path))
    elif settings.database == "memory":
        strategy = MemoryStrategy()
    elif settings.database == "postgres":
        strategy = _postgres(settings)
    elif settings.database == "cassandra":
        strategy = _cassandra(settings)
    else:
        raise ConfigurationError(f"database: '{settings.database}' is not available in this build yet")
    return Store(strategy, build(plugin_schemas), read_only=read_only)


def _cassandra(settings: Any) -> Strategy:
    from kong_gevent.db.strategies.cassandra.options import CassandraOptions
    from kong_gevent.db.strategies.cassandra.strategy import CassandraStrategy

    return CassandraStrategy(CassandraOptions.from_settings(settings))


def _postgres(settings: Any) -> Strategy:
    # Imported late: only who uses a driver pays for loading it.
    from kong_gevent.db.strategies.postgres.options import options_from
    from kong_gevent.db.strategies.postgres.strategy import PostgresStrategy

    replica = options_from(settings, "pg_ro_") if getattr(settings, "pg_ro_host", None) else None
    return PostgresStrategy(options_from(settings), replica)
