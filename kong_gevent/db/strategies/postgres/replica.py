"""Look-ups over a read replica that never answers from before what this process has seen already.

A replica lags behind. What it says is believed when it knows the last event that this process has applied; otherwise,
and while it is away, the primary is asked. So an entry that an event removed from a cache cannot come back out of date.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from kong_gevent.db.strategies.base import Row
from kong_gevent.db.strategies.postgres.options import PostgresOptions
from kong_gevent.db.strategies.postgres.pool import PostgresPool
from kong_gevent.db.strategies.postgres.strategy import PostgresStrategy
from kong_gevent.db.strategies.relational import FIND, READ
from kong_gevent.errors import DatabaseError, StoreUnavailable

_log = logging.getLogger(__name__)


class PostgresReplica(PostgresStrategy):
    """Reads single rows at the replica where it can; everything else is done by the primary."""

    def __init__(self, primary: PostgresStrategy, options: PostgresOptions) -> None:
        super().__init__(primary.options)
        self._primary = primary
        self._pool = primary._pool
        self._writer = primary._writer
        self._nearby = PostgresPool(options)
        self._away = False

    def close(self) -> None:
        """Close the idle connections to the replica."""
        self._nearby.close()

    def read(self, kind: str, key: str) -> Row | None:
        return self._look(READ, (kind, key, time.time()))

    def find(self, kind: str, field: str, value: str) -> Row | None:
        return self._look(FIND, (kind, field, self.stored_value(value), time.time()))

    def _look(self, query: str, values: Sequence[Any]) -> Row | None:
        needed = self._primary.seen
        try:
            known, row = self.read_at(self._nearby, query, values)
        except DatabaseError as error:
            self._lost(error)
            known, row = -1, None
        else:
            if self._away:
                _log.warning("the read replica can be used again")
                self._away = False
        if known >= needed and known >= 0:
            return row
        return self.read_at(self._pool, query, values)[1]

    def _lost(self, error: DatabaseError) -> None:
        if not isinstance(error, StoreUnavailable):
            raise error
        if not self._away:
            _log.warning("look-ups go to the primary: %s", error)
            self._away = True
