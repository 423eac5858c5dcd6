"""The datastore of a cluster of gateways: Apache Cassandra.

Rows have copies under every key by which they are found, so that look-ups are one read. What keeps the copies together,
and unique values and references right, is the commit log (`log`): one lightweight transaction per group of commits.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kong_gevent.db.strategies.base import Change, Event, Meta, Operation, Row, Strategy
from kong_gevent.db.strategies.cassandra import schema
from kong_gevent.db.strategies.cassandra.commits import Committer
from kong_gevent.db.strategies.cassandra.entry import time_to_live
from kong_gevent.db.strategies.cassandra.events import EventReader
from kong_gevent.db.strategies.cassandra.listing import Lister
from kong_gevent.db.strategies.cassandra.log import CommitLog, EntryMissing
from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.records import bucket_of, unique_key, unpack_row
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.db.strategies.cassandra.snapshots import SnapshotReader

_log = logging.getLogger(__name__)
_READ = "SELECT data FROM entities WHERE kind = ? AND bucket = ? AND id = ?"
_FIND = "SELECT data FROM unique_keys WHERE kind = ? AND field = ? AND value = ?"
_PING = "SELECT seq FROM log_state WHERE log = 'main' AND item = 'head'"
_PUSH = "INSERT INTO counts (key, origin, total, ends) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
_COUNTS = "SELECT origin, total, ends FROM counts WHERE key = ?"


class _Parts:
    """What works on one connection of one process."""

    def __init__(self, session: CassandraSession, place: str) -> None:
        self.pid = os.getpid()
        self.log = CommitLog(session, place)
        self.committer = Committer(self.log, SnapshotReader(session))
        self.events = EventReader(session, self.log)
        self.lists = Lister(session)


class CassandraStrategy(Strategy):
    """See the module. Nothing is opened before it is used, so an instance may be made before forking."""

    name = "cassandra"

    def __init__(self, options: CassandraOptions) -> None:
        self.options = options
        self.session = CassandraSession(options)
        # Where reads are satisfied by any replicas of the cluster, they see what was stored from anywhere.
        here = options.write_consistency.startswith("LOCAL_")
        self._place = (options.local_datacenter or "") if here else ""
        self._parts: _Parts | None = None

    @property
    def _mine(self) -> _Parts:
        parts = self._parts
        if parts is None or parts.pid != os.getpid():
            parts = self._parts = _Parts(self.session, self._place)
        return parts

    def connect(self) -> None:
        """Open the session, and finish what a process that died may have left undone."""
        self.session.connect()
        try:
            self._mine.log.settled()
        except EntryMissing as error:
            _log.warning("the store can be read, but not written: %s", error)

    def close(self) -> None:
        """Drop the connections of this process."""
        self._parts = None
        self.session.close()

    def ping(self) -> None:
        """Read one row."""
        self.session.run(_PING, level="read")

    def read(self, kind: str, key: str) -> Row | None:
        return _live(self.session.run(_READ, (kind, bucket_of(key), key), level="read"))

    def find(self, kind: str, field: str, value: str) -> Row | None:
        return _live(self.session.run(_FIND, (kind, field, unique_key(value)), level="read"))

    def page(
        self, kind: str, after: str | None, size: int, tags: Sequence[str] = (), match_all: bool = True
    ) -> list[Row]:
        if tags:
            return self._mine.lists.page_tagged(kind, after, size, tags, match_all)
        return self._mine.lists.page(kind, after, size)

    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        return self._mine.lists.children(parent, kind, field, after, size)

    def count(self, kind: str) -> int:
        return self._mine.lists.count(kind)

    def tagged(self, tag: str | None, after: tuple[str, str, str] | None, size: int) -> list[tuple[str, str, str]]:
        return self._mine.lists.tagged(tag, after, size)

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        self._mine.committer.commit(operations, changes, origin)

    def events_after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        return self._mine.events.after(cursor, limit, settled)

    def event_range(self) -> tuple[int, int]:
        return self._mine.events.range()

    def push_counts(self, origin: str, counts: Mapping[str, tuple[int, float]]) -> None:
        now = time.time()
        # The total is the timestamp, so that the largest one wins whenever it arrives.
        calls = [
            (_PUSH, (key, origin, total, ends, total, time_to_live(ends, now)))
            for key, (total, ends) in counts.items()
            if ends > now
        ]
        self.session.run_all(calls, level="write")

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        now = time.time()
        found: dict[str, dict[str, int]] = {}
        for key, rows in zip(
            keys, self.session.run_all([(_COUNTS, (key,)) for key in keys], level="read"), strict=True
        ):
            totals = {origin: total for origin, total, ends in rows if ends > now}
            if totals:
                found[key] = totals
        return found

    def prune(self) -> None:
        """Nothing is left to be removed: all that ends is written with its time to live."""

    def meta(self) -> Meta:
        return schema.meta(self.session)

    def prepare(self) -> None:
        schema.prepare(self.session)

    def migrate(self, name: str, state: str, step: Any) -> None:
        schema.migrate(self.session, name, state, step)

    def set_value(self, name: str, value: str) -> str:
        return schema.set_value(self.session, name, value)

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        return schema.lock(self.session, name, owner, seconds)

    def unlock(self, name: str, owner: str) -> None:
        schema.unlock(self.session, name, owner)

    def reset(self) -> None:
        schema.reset(self.session)
        self._parts = None


def _live(rows: Sequence[tuple[bytes]]) -> Row | None:
    if not rows:
        return None
    row = unpack_row(rows[0][0])
    return row if row.expires is None or row.expires > time.time() else None
