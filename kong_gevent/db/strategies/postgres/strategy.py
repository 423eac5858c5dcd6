"""PostgreSQL: the tables of the other relational stores, shared by many nodes.

All changes of entities pass through one row, `heads`: a writer locks it before it reads what its conditions are about
and holds it until its transaction has ended. So what was read stays true, the ids of events have no gaps and appear in
the order of the commits, and whether a commit was stored can be found out after its connection broke: who holds the
row sees everything, and nobody else is in the middle of anything. A row is better than an advisory lock here: it
belongs to the schema, and readers see in it which event is the last that was committed.

A fail-over may lose commits, and others take the numbers of their events. The transaction that wrote an event tells
them apart.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from kong_gevent.db.strategies.base import Change, Event, Meta, Operation, Row, Strategy
from kong_gevent.db.strategies.judge import Facts, Judge
from kong_gevent.db.strategies.postgres.commit import BEGIN, LOCK_HEAD, Writer
from kong_gevent.db.strategies.postgres.connection import MARGIN, GatewayConnection, quoted, run_script
from kong_gevent.db.strategies.postgres.options import PostgresOptions
from kong_gevent.db.strategies.postgres.pool import PostgresPool, sql
from kong_gevent.db.strategies.relational import (
    PUT_STATE,
    TABLES,
    RelationalStrategy,
    events_of,
    first,
    meta_of,
    prune_portion,
    statements_of,
)
from kong_gevent.db.strategies.told import Told
from kong_gevent.errors import EventsLost, SchemaMissing, StoreMisconfigured

DDL_SECONDS = 600.0
"""How long a step of a migration may take."""
_LONGEST = 1000
_HASHED = "\x01sha256:"
_PUSH = (
    "INSERT INTO counts (key, origin, total, expires) "
    "SELECT * FROM unnest(?::text[], ?::text[], ?::bigint[], ?::float8[]) "
    "ON CONFLICT (key, origin) DO UPDATE SET total = GREATEST(counts.total, excluded.total)"
)
_COUNTS = "SELECT key, origin, total FROM counts WHERE key = ANY(%s) AND expires > %s"
_EVENTS = (
    "SELECT h.event, (SELECT min(id) FROM events), (SELECT txn FROM events WHERE id = ?), e.txn, e.id, e.entity, "
    "e.key, e.op, e.cache_keys, e.origin FROM heads h "
    "LEFT JOIN LATERAL (SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?) e ON true ORDER BY e.id"
)
_RANGE = "SELECT (SELECT min(id) FROM events), event, (SELECT txn FROM events WHERE id = event) FROM heads"
_PRUNER = "SELECT pg_try_advisory_xact_lock(hashtext('kong-gevent pruner'), hashtext(current_schema()))"
_PREPARER = "SELECT pg_advisory_xact_lock(hashtext('kong-gevent schema'))"
_META_TABLES = """
CREATE TABLE IF NOT EXISTS schema_meta (name text COLLATE "C" PRIMARY KEY, state text NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS locks (name text COLLATE "C" PRIMARY KEY, owner text NOT NULL, until float8 NOT NULL);
"""


class PostgresStrategy(RelationalStrategy):
    """See the module. `replica`: a read-only server that look-ups for proxied requests may use."""

    name = "postgres"
    clock = "extract(epoch FROM clock_timestamp())::float8"

    def __init__(self, options: PostgresOptions, replica: PostgresOptions | None = None) -> None:
        super().__init__()
        self.options = options
        self.replica = replica
        self.seen = 0
        self._told: Told[UUID] = Told()
        self._pool = PostgresPool(options)
        self._writer = Writer(self._pool, self.stored_value)
        self._lookups: Strategy | None = None

    def close(self) -> None:
        """Close the idle connections of this process."""
        self._pool.close()
        if self._lookups is not None:
            self._lookups.close()

    def lookups(self) -> Strategy:
        if self.replica is None:
            return self
        if self._lookups is None:
            from kong_gevent.db.strategies.postgres.replica import PostgresReplica  # it is a strategy of this kind

            self._lookups = PostgresReplica(self, self.replica)
        return self._lookups

    def stored_value(self, value: str) -> str:
        """As it is, unless PostgreSQL cannot index it: long values and NUL characters go by their digest."""
        if len(value) <= _LONGEST and "\0" not in value and not value.startswith(_HASHED):
            return value
        return _HASHED + hashlib.sha256(value.encode()).hexdigest()

    def _fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        return self._pool.fetch(query, values)

    def _change(self, statement: str, values: Sequence[Any]) -> list[Any]:
        def run(connection: GatewayConnection) -> list[Any]:
            cursor = connection.execute(sql(statement), values, binary=True)
            return cursor.fetchall() if cursor.description else []

        return self._pool.run(run)

    def _commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        self._writer.commit(operations, changes, origin)

    def _push(self, counts: Sequence[tuple[str, str, int, float]]) -> None:
        columns = [list(column) for column in zip(*counts, strict=True)]
        # Totals are published again soon; nobody waits for them to reach the disk.
        script = [("BEGIN", ()), ("SET LOCAL synchronous_commit = off", ()), (_PUSH, columns), ("COMMIT", ())]
        self._pool.run(lambda connection: run_script(connection, script))

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        if not keys:
            return found

        def run(connection: GatewayConnection) -> list[Any]:
            return connection.execute(_COUNTS, (list(keys), time.time()), binary=True).fetchall()

        for key, origin, total in self._pool.run(run):
            found.setdefault(key, {})[origin] = total
        return found

    def events_after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        found = self._fetch(_EVENTS, (cursor, cursor, limit))
        if not found:
            raise SchemaMissing(f"PostgreSQL at {self.options.where} needs bootstrapping: run 'migrations bootstrap'")
        last, oldest, txn = found[0][:3]
        if txn is not None and self._told.get(cursor) not in (None, txn):
            raise EventsLost(f"event {cursor} was replaced by another one: the server went back to an older state")
        events = events_of(cursor, oldest, last, [row[4:] for row in found if row[4] is not None])
        if events:
            self._told.remember(events[-1].id, found[-1][3])
        self.seen = events[-1].id if events else max(cursor, 0)
        return events

    def event_range(self) -> tuple[int, int]:
        found = self._fetch(_RANGE, ())
        if not found:
            raise SchemaMissing(f"PostgreSQL at {self.options.where} needs bootstrapping: run 'migrations bootstrap'")
        oldest, last, txn = found[0]
        if txn is not None:
            self._told.remember(last, txn)
        self.seen = last
        return (oldest if oldest is not None else last + 1), last

    def _prune(self) -> bool:
        def run(connection: GatewayConnection) -> bool:
            def fetch(query: str, values: Sequence[Any]) -> list[Any]:
                return connection.execute(sql(query), values, binary=True).fetchall()

            def remove(statement: str, values: Sequence[Sequence[Any]]) -> None:
                connection.cursor().executemany(sql(statement), values)

            more = False
            if run_script(connection, [(BEGIN, ()), (_PRUNER, ())])[1][0][0]:  # otherwise another process is at it
                connection.execute(LOCK_HEAD)
                more = prune_portion(Judge(Facts(fetch, time.time(), self.stored_value), lambda held: held), remove)
            connection.execute("COMMIT")
            return more

        return self._pool.run(run)

    def meta(self) -> Meta:
        try:
            states = self._fetch("SELECT name, state FROM schema_meta ORDER BY name", ())
            return meta_of(states, self._fetch("SELECT name, value FROM settings", ()))
        except SchemaMissing:
            return Meta()

    def prepare(self) -> None:
        self._pool.run(self._prepare)

    def _prepare(self, connection: GatewayConnection) -> None:
        self._begin_ddl(connection)
        # Two that create the same thing would meet in the catalogue's unique indexes.
        connection.execute(_PREPARER)
        name = self.options.schema
        if name and not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone():
            try:
                connection.execute(f"CREATE SCHEMA {quoted(name)}".encode())
            except pg.InsufficientPrivilege:
                raise StoreMisconfigured(
                    f"database '{self.options.database}' of PostgreSQL at {self.options.where} has no schema '{name}' "
                    f"and user '{self.options.user}' may not make one; CREATE SCHEMA {name} AUTHORIZATION "
                    f"{self.options.user}, or correct {self.options.part}schema"
                ) from None
        if connection.execute("SELECT current_schema()").fetchone() == (None,):
            raise StoreMisconfigured(
                f"no schema of PostgreSQL at {self.options.where} is in the search path of user "
                f"'{self.options.user}'; set {self.options.part}schema"
            )
        for statement in statements_of(_META_TABLES):
            connection.execute(statement.encode())
        connection.execute("COMMIT")

    def migrate(self, name: str, state: str, step: Any) -> None:
        def run(connection: GatewayConnection) -> None:
            self._begin_ddl(connection)
            known = connection.execute("SELECT state FROM schema_meta WHERE name = %s", (name,)).fetchone()
            if known != (state,):  # unless the connection broke after an earlier try was stored
                if callable(step):
                    step(connection)
                else:
                    for statement in statements_of(step):
                        connection.execute(statement.encode())
                connection.execute(sql(PUT_STATE), (name, state))
            connection.execute("COMMIT")

        self._with_patience(run)

    def reset(self) -> None:
        def run(connection: GatewayConnection) -> None:
            self._begin_ddl(connection)
            connection.execute(_PREPARER)
            for table in TABLES:
                connection.execute(f"DROP TABLE IF EXISTS {table}".encode())
            connection.execute("COMMIT")

        self._with_patience(run)

    def _begin_ddl(self, connection: GatewayConnection) -> None:
        connection.execute("BEGIN")
        connection.execute(f"SET LOCAL statement_timeout = {round(DDL_SECONDS * 1000)}".encode())

    def _with_patience(self, run: Any) -> None:
        def patient(connection: GatewayConnection) -> None:
            connection.patience = DDL_SECONDS + MARGIN
            try:
                run(connection)
            finally:
                connection.patience = self.options.timeout + MARGIN

        self._pool.run(patient)

    def read_at(self, pool: PostgresPool, query: str, values: Sequence[Any]) -> tuple[int, Row | None]:
        """The last event that a server knows, and the row that `query` (without SELECT) finds there."""
        found = pool.fetch(f"SELECT h.event, r.* FROM heads h LEFT JOIN (SELECT {query}) r ON true", values)
        if not found:
            return -1, None
        return found[0][0], first([found[0][1:]]) if found[0][1] is not None else None
