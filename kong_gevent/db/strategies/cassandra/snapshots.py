"""Reads what commits are validated against, together with the log's state, all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from kong_gevent.db.strategies.cassandra.draft import Needs, Snapshot
from kong_gevent.db.strategies.cassandra.entry import Call
from kong_gevent.db.strategies.cassandra.log import CommitLog, State
from kong_gevent.db.strategies.cassandra.records import bucket_of, unique_key, unpack
from kong_gevent.db.strategies.cassandra.session import CassandraSession

T = TypeVar("T")
_ROWS_AT_ONCE = 100
"""Rows of one partition in one request."""
_KEYS_AT_ONCE = 20
"""Partitions in one request, when there are many to read: the coordinator passes each of them on."""
_FEW = 8
"""Up to so many partitions are read by a request each, which finds its own way to a replica."""

_ENTITIES = "SELECT data FROM entities WHERE kind = ? AND bucket = ? AND id IN ?"
_OWNERS = "SELECT value, data FROM unique_keys WHERE kind = ? AND field = ? AND value IN ?"
_LINKS = "SELECT parent_id, kind, field, id, expires FROM links WHERE parent_kind = ? AND parent_id IN ?"


class SnapshotReader:
    """Reads at the consistency of writes, so that whatever a commit stored before is seen."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def read(self, needs: Needs, log: CommitLog) -> tuple[State | None, Snapshot]:
        """The state of the log and, read at the same time, what is needed."""
        entities, owners, links = list(_entities(needs)), list(_owners(needs)), list(_links(needs))
        results = iter(self._session.run_all([log.state_call, *entities, *owners, *links], level="write"))
        state = log.parse(next(results))
        snapshot = Snapshot()
        for rows in islice(results, len(entities)):
            for (data,) in rows:
                stored = unpack(data)
                snapshot.entities[stored.key] = stored
        values = {unique_key(value): value for _, _, value in needs.owners}
        for (_, (kind, field, _)), rows in zip(owners, islice(results, len(owners)), strict=True):
            for key, data in rows:
                snapshot.owners[kind, field, values[key]] = unpack(data)
        for (_, (parent_kind, _)), rows in zip(links, results, strict=True):
            for parent_id, kind, field, key, expires in rows:
                snapshot.links.setdefault((parent_kind, parent_id), {})[kind, field, key] = expires
        return state, snapshot


def _entities(needs: Needs) -> Iterator[Call]:
    partitions: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for kind, key in needs.entities:
        partitions[kind, bucket_of(key)].append(key)
    for partition, keys in partitions.items():
        for some in _slices(keys, _ROWS_AT_ONCE):
            yield _ENTITIES, (*partition, some)


def _owners(needs: Needs) -> Iterator[Call]:
    fields: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, field, value in needs.owners:
        fields[kind, field].append(unique_key(value))
    return _by_partition(_OWNERS, fields.items())


def _links(needs: Needs) -> Iterator[Call]:
    kinds: defaultdict[tuple[str], list[str]] = defaultdict(list)
    for kind, key in needs.parents:
        kinds[(kind,)].append(key)
    return _by_partition(_LINKS, kinds.items())


def _by_partition(query: str, groups: Iterable[tuple[tuple[Any, ...], list[str]]]) -> Iterator[Call]:
    for leading, keys in groups:
        for some in _slices(keys, 1 if len(keys) <= _FEW else _KEYS_AT_ONCE):
            yield query, (*leading, some)


def _slices(entries: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])
