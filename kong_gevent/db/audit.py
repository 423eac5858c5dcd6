"""The audit log: every write over the Admin API, with the entities before and after, for a bounded time.

Strategy: the data access objects note what they commit while somebody listens (`noted`); the Admin API makes one record
per request of it; a greenlet stores records right away, many at once when many wait, and no request waits for it.
Records have ids that grow backwards in time, so that a plain list begins with the latest.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import gevent

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import Exists, Index, Operation, Put
from kong_gevent.errors import GatewayError
from kong_gevent.schema.entity import Entity
from kong_gevent.schema.masking import masked

log = logging.getLogger("kong_gevent.audit")
KIND = "audit_requests"
BATCH = 50
MOST_WAITING = 10_000
"""Records kept in memory while the store does not take them; more are dropped, and the error log says so."""
LARGEST = 65_536
"""Bytes of the changes of one record; larger ones are replaced by a note of what was changed."""
RETRY_SECONDS = 1.0
_LAST = (1 << 64) - 1

MOST_SHOWN = 100
"""Entities of one request whose states are kept; of more than that only the first are named."""

Key = tuple[str, str]
Changes = list[dict[str, Any]]
_noted: ContextVar[Changes | None] = ContextVar("noted", default=None)


def note(catalogue: Mapping[str, Entity], operations: Sequence[Operation], before: Mapping[Key, bytes]) -> None:
    """Called after each commit: remember the entities, secrets masked, if somebody listens.

    `before`: what was stored of them, by kind and id.
    """
    changes = _noted.get()
    if changes is None:
        return
    if len(changes) + len(operations) > MOST_SHOWN:
        changes += ({"entity": each.kind, "id": each.id, "too_large": True} for each in operations[:MOST_SHOWN])
        return
    for operation in operations:
        schema = catalogue[operation.kind].schema
        kind, key = operation.kind, operation.id
        bodies = before.get((kind, key)), operation.body if isinstance(operation, Put) else None
        old, new = (None if body is None else masked(schema, schema.fill(codec.loads(body))) for body in bodies)
        changes.append({"entity": kind, "id": key, "before": old, "after": new})


def begin() -> None:
    """Listen to the commits of this greenlet."""
    _noted.set([])


def taken() -> Changes | None:
    """What was committed since `begin`, and listen no more; None when nobody listened."""
    changes = _noted.get()
    if changes is not None:
        _noted.set(None)
    return changes


def id_at(at: float, random: bytes | None = None) -> str:
    """An id for a record of this time (epoch s): later records have smaller ids."""
    until_the_end = _LAST - int(at * 1_000_000)
    return str(UUID(bytes=until_the_end.to_bytes(8, "big") + (os.urandom(8) if random is None else random)))


class AuditLog:
    """The log of one store. `lifetime`: seconds for which records are kept."""

    def __init__(self, store: Any, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime
        self._waiting: deque[dict[str, Any]] = deque()
        self._dropped = 0
        self._writer: gevent.Greenlet | None = None

    def add(self, record: Mapping[str, Any], changes: Changes) -> None:
        """Keep a record; returns at once."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        at = time.time()
        self._waiting.append({"id": id_at(at), "at": round(at, 6), **record, "changes": _bounded(changes)})
        if self._writer is None:
            self._writer = gevent.spawn(self._write)

    def flush(self, timeout: float = 2.0) -> None:
        """Return when everything has been stored, or after `timeout` s."""
        writer = self._writer
        if writer is not None:
            writer.join(timeout)

    def _write(self) -> None:
        failing = False
        batch: list[dict[str, Any]] = []
        while self._waiting:
            # After a failure the very same ones again: what became of them may not be known.
            batch = batch or [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
            try:
                self._store.strategy.commit([self._put(record) for record in batch], [], self._store.origin)
            except Exists:
                pass  # an earlier try was stored, although its answer was lost
            except Exception as error:
                if not failing:
                    unforeseen = None if isinstance(error, GatewayError) else error
                    log.error(
                        "audit records cannot be stored now, they are kept in memory: %s", error, exc_info=unforeseen
                    )
                failing = True
                gevent.sleep(RETRY_SECONDS)
                continue
            failing = False
            for _ in batch:
                self._waiting.popleft()
            batch = []
        self._writer = None
        if self._dropped:
            log.error("%d audit records were lost: the datastore was away for too long", self._dropped)
            self._dropped = 0

    def _put(self, record: Mapping[str, Any]) -> Put:
        return Put(KIND, record["id"], codec.dumps(record), Index(), None, time.time() + self._lifetime)


def _bounded(changes: Changes) -> Changes:
    if len(codec.dumps(changes)) <= LARGEST:
        return changes
    return [{"entity": change["entity"], "id": change["id"], "too_large": True} for change in changes[:MOST_SHOWN]]
