"""Commits to PostgreSQL: few round trips, one flush to disk for all that wait together, no doubt about the outcome.

A commit takes two round trips: lock the head row and read what the conditions are about; write and commit. Callers of
one process that meet while another writes are written together in the next transaction; each still succeeds or fails
by itself.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from kong_gevent.db.strategies.base import Change, CommitRefused, Delete, Operation, Put
from kong_gevent.db.strategies.judge import Claim, Facts, Judge, Key
from kong_gevent.db.strategies.postgres.connection import GatewayConnection, run_script
from kong_gevent.db.strategies.postgres.pool import Failures, Interrupted, PerProcess, PostgresPool, sql
from kong_gevent.db.strategies.relational import event_rows
from kong_gevent.errors import DatabaseError, OutcomeUnknown, SchemaMissing, StoreUnavailable

LOCK_HEAD = "SELECT event, version FROM heads FOR UPDATE"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_MOVE_HEAD = "UPDATE heads SET event = ?, version = ?"
_ROWS = "SELECT kind, id, version, expires, idx FROM entities WHERE (kind, id) IN (VALUES {})"
_OWNERS = (
    "SELECT u.kind, u.field, u.value, e.id, e.version, e.expires, e.idx FROM unique_keys u "
    "JOIN entities e ON e.kind = u.kind AND e.id = u.id WHERE (u.kind, u.field, u.value) IN (VALUES {})"
)
_CHILDREN = (
    "SELECT l.parent_kind, l.parent_id, l.kind, l.field, l.id FROM links l "
    "JOIN entities e ON e.kind = l.kind AND e.id = l.id "
    "WHERE (l.parent_kind, l.parent_id) IN (VALUES {}) AND (e.expires IS NULL OR e.expires > ?)"
)
_EVENTS = "INSERT INTO events (id, at, entity, key, op, cache_keys, origin, txn) VALUES {}"
_TRACE = "SELECT 1 FROM events WHERE id = ? AND txn = ?"
Part = tuple[str, Sequence[Any]]
_TOGETHER = 500
"""Operations that are written in one transaction, unless one commit alone has more."""
_SETTLE_SECONDS = 10.0
_SETTLE_PAUSE = 0.2


class _Request:
    """One caller's commit: `error` is its outcome once it is `done`."""

    def __init__(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        self.operations = operations
        self.changes = changes
        self.origin = origin
        self.done = False
        self.error: Exception | None = None

    def finish(self, error: Exception | None = None) -> None:
        """Note the outcome, once."""
        if not self.done:
            self.done, self.error = True, error


class _Line:
    """Of one process: who waits, and whose turn it is to write for all."""

    def __init__(self) -> None:
        self.waiting: list[_Request] = []
        self.turn = threading.Lock()

    def take(self) -> list[_Request]:
        """Those that go together next."""
        taken = [self.waiting.pop(0)]
        size = len(taken[0].operations)
        while self.waiting and size + len(self.waiting[0].operations) <= _TOGETHER:
            size += len(self.waiting[0].operations)
            taken.append(self.waiting.pop(0))
        return taken


class Writer:
    """Writes commits, those of one process in groups."""

    def __init__(self, pool: PostgresPool, stored_value: Callable[[str], str]) -> None:
        self._pool = pool
        self._stored_value = stored_value
        self._line = PerProcess(_Line)

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        """See `Strategy.commit`. Raises `OutcomeUnknown` when the server went away and nobody could ask it in time."""
        line = self._line()
        request = _Request(operations, changes, origin)
        line.waiting.append(request)
        try:
            with line.turn:
                while not request.done:
                    self._write(line.take())
        finally:
            if request in line.waiting:  # whoever is ended while it waits must not be served with a later commit
                line.waiting.remove(request)
        if request.error is not None:
            raise request.error

    def _write(self, group: list[_Request]) -> None:
        failures = Failures()
        try:
            while True:
                transaction = _Transaction(group, self._stored_value)
                try:
                    with self._pool.borrow() as connection:
                        transaction.run(connection)
                    break
                except Interrupted as error:
                    if transaction.sent and error.lost and self._was_stored(transaction, error):
                        break
                    failures.judge(error)
            for request in group:
                request.finish(transaction.refused.get(id(request)))
        except Exception as error:
            for request in group:
                request.finish(_copy(error))
        finally:
            for request in group:  # this greenlet was killed in the middle of it
                request.finish(OutcomeUnknown("a write was interrupted: it may have been stored"))

    def _was_stored(self, transaction: _Transaction, cause: Interrupted) -> bool:
        """Whether a transaction whose COMMIT got no answer took place. Raises `OutcomeUnknown` if nobody can say."""
        reason: Exception = cause.meaning
        until = time.monotonic() + _SETTLE_SECONDS
        while transaction.first_event is not None and time.monotonic() < until:
            try:
                with self._pool.borrow() as connection:
                    return transaction.trace(connection)
            except Interrupted as error:
                reason = error.meaning
            except StoreUnavailable as error:
                reason = error
            time.sleep(_SETTLE_PAUSE)
        raise OutcomeUnknown(f"whether a write was stored is not known: {reason}") from cause


class _Transaction:
    """One try to write a group."""

    def __init__(self, group: list[_Request], stored_value: Callable[[str], str]) -> None:
        self._group = group
        self._stored_value = stored_value
        self._id = uuid.uuid4()
        self._version = 0
        self.refused: dict[int, CommitRefused] = {}
        self.sent = False
        self.first_event: int | None = None

    def run(self, connection: GatewayConnection) -> None:
        """Read, judge, write. Raises psycopg's errors."""
        head, facts = self._read(connection)
        judge = Judge(facts, self._next_version)
        last, self._version = head
        changes: list[tuple[Change, str]] = []
        for request in self._group:
            try:
                judge.apply(request.operations)
                changes += [(change, request.origin) for change in request.changes]
            except CommitRefused as refusal:
                self.refused[id(request)] = refusal
        if len(self.refused) == len(self._group):
            connection.execute("ROLLBACK")
            return
        events = [(*row, self._id) for row in event_rows(facts.now, last + 1, changes)]
        self.first_event = last + 1 if events else None
        script: list[Part] = []
        for table, gone, put in judge.writes.changes(self._stored_value):
            if gone:
                script.append((table.delete(len(gone)), _flat(gone)))
            if put:
                script.append((table.put(len(put)), _flat(put)))
        if events:
            script.append(_many(_EVENTS, events))
        script += [(_MOVE_HEAD, (last + len(events), self._version)), ("COMMIT", ())]
        self.sent = True
        run_script(connection, script)

    def trace(self, connection: GatewayConnection) -> bool:
        """Whether the events are there; the lock tells that the transaction is not still under way."""
        script: list[Part] = [(BEGIN, ()), (LOCK_HEAD, ()), (_TRACE, (self.first_event, self._id)), ("ROLLBACK", ())]
        return bool(run_script(connection, script)[2])

    def _next_version(self, held: int) -> int:
        self._version = max(self._version, held) + 1
        return self._version

    def _read(self, connection: GatewayConnection) -> tuple[tuple[int, int], Facts]:
        """Lock the head and learn everything that judging will probably ask for, in one round trip."""
        facts = Facts(
            lambda query, values: connection.execute(sql(query), values, binary=True).fetchall(),
            time.time(),
            self._stored_value,
        )
        keys, claims, gone = _concerned(self._group)
        stored = {(kind, name, self._stored_value(value)): (kind, name, value) for kind, name, value in claims}
        script: list[Part] = [(BEGIN, ()), (LOCK_HEAD, ())]
        for query, values, more in ((_ROWS, keys, ()), (_OWNERS, stored, ()), (_CHILDREN, gone, (facts.now,))):
            script.append(_many(query, list(values), more) if values else ("SELECT 1 WHERE false", ()))
        _, head, rows, owners, children = run_script(connection, script)
        facts.rows.update(dict.fromkeys(keys))
        for kind, key, *found in rows:
            facts.learn_row((kind, key), found)
        facts.owners.update(dict.fromkeys(claims))
        for kind, name, value, *found in owners:
            facts.learn_owner(stored[kind, name, value], found)
        facts.children.update((key, []) for key in gone)
        for parent_kind, parent_id, *child in children:
            facts.children[parent_kind, parent_id].append((child[0], child[1], child[2]))
        if not head:
            raise SchemaMissing("the store needs bootstrapping: run 'migrations bootstrap'")
        return (head[0][0], head[0][1]), facts


def _concerned(group: Sequence[_Request]) -> tuple[dict[Key, None], dict[Claim, None], dict[Key, None]]:
    """Rows to look at, unique values that are claimed, and rows that go."""
    keys: dict[Key, None] = {}
    claims: dict[Claim, None] = {}
    gone: dict[Key, None] = {}
    for request in group:
        for operation in request.operations:
            key = (operation.kind, operation.id)
            keys[key] = None
            if isinstance(operation, Delete):
                gone[key] = None
            elif isinstance(operation, Put):
                claims.update(((operation.kind, name, value), None) for name, value in operation.index.unique)
                keys.update(((kind, parent), None) for _, kind, parent in operation.index.parents)
    return keys, claims, gone


def _many(statement: str, values: Sequence[Sequence[Any]], more: Sequence[Any] = ()) -> Part:
    """A statement whose `{}` stands for rows of values, and what follows them."""
    marks = ", ".join([f"({', '.join('?' * len(values[0]))})"] * len(values))
    return statement.replace("{}", marks), [*_flat(values), *more]


def _flat(values: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for row in values for value in row]


def _copy(error: Exception) -> Exception:
    """An error for one of several callers: an exception collects the frames that it passes."""
    return type(error)(error.message) if isinstance(error, DatabaseError) else error
