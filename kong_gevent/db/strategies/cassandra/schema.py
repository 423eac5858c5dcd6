"""Tables, and the few rows that are not entities: states of migrations, values set once, locks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kong_gevent.db.strategies.base import Meta
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.errors import OutcomeUnknown, SchemaMissing

TABLES = ("entities", "unique_keys", "links", "tags", "counts", "log", "log_state", "locks", "settings", "schema_meta")
"""In the order in which they are removed: a reset that was interrupted can be repeated."""
_META_TABLES = {
    "schema_meta": "CREATE TABLE IF NOT EXISTS schema_meta (name text PRIMARY KEY, state text)",
    "settings": "CREATE TABLE IF NOT EXISTS settings (name text PRIMARY KEY, value text)",
    "locks": "CREATE TABLE IF NOT EXISTS locks (name text PRIMARY KEY, owner text)",
}
_KNOWN = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?"
_STATES = "SELECT name, state FROM schema_meta"
_VALUES = "SELECT name, value FROM settings"
_RECORD = "INSERT INTO schema_meta (name, state) VALUES (?, ?)"
_SET = "INSERT INTO settings (name, value) VALUES (?, ?) IF NOT EXISTS"
_VALUE = "SELECT value FROM settings WHERE name = ?"
_LOCK = "INSERT INTO locks (name, owner) VALUES (?, ?) IF NOT EXISTS USING TTL ?"
_RENEW = "UPDATE locks USING TTL ? SET owner = ? WHERE name = ? IF owner = ?"
_UNLOCK = "DELETE FROM locks WHERE name = ? IF owner = ?"
_TRIES = 3


def meta(session: CassandraSession) -> Meta:
    """What the migrations know; nothing where the keyspace or its tables do not exist."""
    try:
        if not {"schema_meta", "settings"} <= _tables(session):
            return Meta()
        states = session.run(_STATES, level="write")
        values = session.run(_VALUES, level="write")
    except SchemaMissing:
        return Meta()
    return Meta(dict(sorted(states)) or None, dict(values))


def prepare(session: CassandraSession) -> None:
    """Make the keyspace and the tables that the migrations themselves need, as far as they are missing."""
    session.ensure_keyspace()
    known = _tables(session)
    for name, statement in _META_TABLES.items():
        if name not in known:
            session.run(statement, level="ddl")


def migrate(session: CassandraSession, name: str, state: str, step: Any) -> None:
    """Run a step and record it. A step may have been interrupted before, so its statements can be repeated."""
    if callable(step):
        step(session)
    else:
        for statement in (step or "").split(";\n"):
            if statement.strip():
                session.run(statement.strip().removesuffix(";"), level="ddl")
    session.run(_RECORD, (name, state), level="write")


def reset(session: CassandraSession) -> None:
    """Drop all tables. The keyspace stays: who may drop it may not be allowed to make it again."""
    try:
        known = _tables(session)
        for name in TABLES:
            if name in known:
                session.run(f"DROP TABLE IF EXISTS {name}", level="ddl")
    except SchemaMissing:
        return


def set_value(session: CassandraSession, name: str, value: str) -> str:
    """Store a value once; returns the one that is stored."""
    _conditional(session, _SET, (name, value))
    return str(session.run(_VALUE, (name,), level="serial")[0][0])


def lock(session: CassandraSession, name: str, owner: str, seconds: float) -> bool:
    """Take or renew a lock; the server ends it."""
    if seconds <= 0:
        unlock(session, name, owner)
        return True
    life = math.ceil(seconds)
    return _conditional(session, _LOCK, (name, owner, life)) or _conditional(
        session, _RENEW, (life, owner, name, owner)
    )


def unlock(session: CassandraSession, name: str, owner: str) -> None:
    """Give a lock back, if it is this owner's."""
    _conditional(session, _UNLOCK, (name, owner))


def _conditional(session: CassandraSession, query: str, values: Sequence[Any]) -> bool:
    """Run a conditional write whose repetition is harmless; whether (this time) it was applied."""
    for attempt in range(_TRIES):
        try:
            return bool(session.run(query, values, level="lwt", idempotent=False)[0][0])
        except OutcomeUnknown:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _tables(session: CassandraSession) -> set[str]:
    # Read from the node that is asked: what is made here is known there before the statement that makes it returns.
    return {name for (name,) in session.run(_KNOWN, (session.options.keyspace,), level="near")}
