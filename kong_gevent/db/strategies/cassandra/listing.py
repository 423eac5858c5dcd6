"""Lists in the order of their keys, over partitions: pages of a kind, rows that refer to another, rows with tags.

Partitions are read a few at a time, more of them when they turn out to be nearly empty. Rows that have expired by the
gateway's clock are left out even while the server keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from math import ceil
from typing import Any, Generic, TypeAlias, TypeVar

from kong_gevent.db.strategies.base import Row
from kong_gevent.db.strategies.cassandra.entry import Call
from kong_gevent.db.strategies.cassandra.records import BUCKETS, bucket_of, tag_bucket, unpack, unpack_row
from kong_gevent.db.strategies.cassandra.session import CassandraSession

T = TypeVar("T")
K = TypeVar("K")
Triple: TypeAlias = tuple[str, str, str]
TAG_BUCKETS = 256
_FIRST_WIDTH = 4
_GROWTH = 4
_FIRST: Triple = ("", "", "")
_CHUNK = 1000
"""Ids of one tag that are read at a time."""

_PAGE = "SELECT data FROM entities WHERE kind = ? AND bucket = ? AND id > ? LIMIT ?"
_CHILDREN = (
    "SELECT data FROM links WHERE parent_kind = ? AND parent_id = ? AND kind = ? AND field = ? AND id > ? LIMIT ?"
)
_COUNT = "SELECT count(*), max(expires) FROM entities WHERE kind = ? AND bucket = ?"
_EXPIRIES = "SELECT expires FROM entities WHERE kind = ? AND bucket = ?"
_READ = "SELECT data FROM entities WHERE kind = ? AND bucket = ? AND id = ?"
_TAG = "SELECT id, expires FROM tags WHERE bucket = ? AND tag = ? AND kind = ? AND id > ? LIMIT ?"
_TAGGED = "SELECT tag, kind, id, expires FROM tags WHERE bucket = ? AND tag = ? AND (kind, id) > (?, ?) LIMIT ?"
_ALL_TAGS = "SELECT tag, kind, id, expires FROM tags WHERE bucket = ? AND (tag, kind, id) > (?, ?, ?) LIMIT ?"


class Lister:
    """The lists of one store. It remembers how full the partitions of a kind were, to read the right number at once."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._density: dict[str, float] = {}

    def page(self, kind: str, after: str | None, size: int) -> list[Row]:
        """Rows of a kind with greater ids."""
        buckets = range(bucket_of(after) if after else 0, BUCKETS)
        scan = _Scan(
            self._session,
            lambda bucket, start, limit: (_PAGE, (kind, bucket, start, limit)),
            lambda row: _keyed(unpack_row(row[0])),
            "",
        )
        density = self._density.get(kind, size / _FIRST_WIDTH)
        found = scan.run(buckets, after or "", size, ceil(size / max(density, 1.0)))
        self._density[kind] = scan.density
        return found

    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        """Rows of a kind that refer to a parent by a field."""
        scan = _Scan(
            self._session,
            lambda _, start, limit: (_CHILDREN, (*parent, kind, field, start, limit)),
            lambda row: _keyed(unpack_row(row[0])),
            "",
        )
        return scan.run(range(1), after or "", size, 1)

    def count(self, kind: str) -> int:
        """How many rows a kind has."""
        calls = [(_COUNT, (kind, bucket)) for bucket in range(BUCKETS)]
        totals = [rows[0] for rows in self._session.run_all(calls, level="read")]
        count: int = sum(number for number, latest in totals if not latest)
        mortal = [(_EXPIRIES, (kind, bucket)) for bucket, (_, latest) in enumerate(totals) if latest]
        now = time.time()
        for rows in self._session.run_all(mortal, level="read"):
            count += sum(1 for (expires,) in rows if _lasts(expires, now))
        return count

    def tagged(self, tag: str | None, after: Triple | None, size: int) -> list[Triple]:
        """(tag, kind, id) triples in that order, of one tag or of all."""
        start = after or _FIRST
        if tag is None:
            scan = _Scan(self._session, _all_tags, _triple, _FIRST)
            return scan.run(range(tag_bucket(start[0]), TAG_BUCKETS), start, size, _FIRST_WIDTH)
        if start[0] > tag:
            return []
        scan = _Scan(self._session, _one_tag, _triple, (tag, "", ""))
        return scan.run(
            range(tag_bucket(tag), tag_bucket(tag) + 1), start if start[0] == tag else (tag, "", ""), size, 1
        )

    def page_tagged(self, kind: str, after: str | None, size: int, tags: Sequence[str], match_all: bool) -> list[Row]:
        """Rows of a kind with all, or any, of some tags."""
        wanted = tuple(dict.fromkeys(tags))
        ids = [_TagIds(self._session, kind, tag, after or "", min(_CHUNK, size)) for tag in wanted]
        matching = _common(ids) if match_all else (key for key, _ in groupby(merge(*ids)))
        test = all if match_all else any
        found: list[Row] = []
        while some := list(islice(matching, size - len(found))):
            now = time.time()
            calls = [(_READ, (kind, bucket_of(key), key)) for key in some]
            for rows in self._session.run_all(calls, level="read"):
                stored = unpack(rows[0][0]) if rows else None
                if stored and stored.live(now) and test(tag in stored.index.tags for tag in wanted):
                    found.append(stored.row)
        return found


class _Scan(Generic[K, T]):
    """Reads partitions that are in order, each sorted, until there is enough.

    `call(bucket, after, limit)`: the statement; `parse`: a row's key, and what it stands for (None: left out);
    `blank`: sorts before all keys. `density`: rows per partition that the last run found.
    """

    def __init__(
        self,
        session: CassandraSession,
        call: Callable[[int, K, int], Call],
        parse: Callable[[tuple[Any, ...]], tuple[K, T | None]],
        blank: K,
    ) -> None:
        self._session = session
        self._call = call
        self._parse = parse
        self._blank = blank
        self.density = 0.0

    def run(self, buckets: range, after: K, size: int, width: int) -> list[T]:
        """At most `size` things from some partitions, the first of them read from `after`, `width` of them at once."""
        found: list[T] = []
        bucket, seen, read = buckets.start, 0, 0
        while bucket < buckets.stop and len(found) < size:
            limit = size - len(found)
            span = range(bucket, min(bucket + max(width, 1), buckets.stop))
            calls = [self._call(each, after if each == bucket else self._blank, limit) for each in span]
            bucket, after, width = span.stop, self._blank, width * _GROWTH
            for each, rows in zip(span, self._session.run_all(calls, level="read"), strict=True):
                parsed = [self._parse(row) for row in rows]
                found += [thing for _, thing in parsed if thing is not None]
                seen, read = seen + len(rows), read + 1
                if len(rows) == limit:
                    bucket, after = each, parsed[-1][0]  # there may be more in this one
                    break
        self.density = seen / read if read else 0.0
        return found[:size]


class _TagIds:
    """The ids of one tag and kind in order, read piece by piece; may skip ahead."""

    def __init__(self, session: CassandraSession, kind: str, tag: str, after: str, chunk: int) -> None:
        self._session = session
        self._key = (tag_bucket(tag), tag, kind)
        self._chunk = chunk
        self._ids: list[str] = []
        self._at = 0
        self._after = after
        self._more = True

    def __iter__(self) -> Iterator[str]:
        least = ""
        while (key := self.seek(least)) is not None:
            yield key
            least = key + "!"

    def seek(self, least: str) -> str | None:
        """The first id from where it stands that is not smaller than `least`; None at the end."""
        while True:
            while self._at < len(self._ids):
                if self._ids[self._at] >= least:
                    return self._ids[self._at]
                self._at += 1
            if not self._more:
                return None
            self._fill(least)

    def _fill(self, least: str) -> None:
        # Ids are of one length, so what sorts between an id and its predecessor is the id without its last character.
        after = max(self._after, least[:-1])
        rows = self._session.run(_TAG, (*self._key, after, self._chunk), level="read")
        now = time.time()
        self._ids, self._at = [key for key, expires in rows if _lasts(expires, now)], 0
        self._more = len(rows) == self._chunk
        if rows:
            self._after = rows[-1][0]


def _common(streams: Sequence[_TagIds]) -> Iterator[str]:
    """Ids that all streams have: each one skips to where the others are."""
    candidate = ""
    while True:
        reached = candidate
        for stream in streams:
            found = stream.seek(reached)
            if found is None:
                return
            reached = found
        if reached == candidate:
            yield candidate
            candidate += "!"
        else:
            candidate = reached


def _keyed(row: Row) -> tuple[str, Row | None]:
    return row.id, row if row.expires is None or row.expires > time.time() else None


def _triple(row: tuple[Any, ...]) -> tuple[Triple, Triple | None]:
    tag, kind, key, expires = row
    return (tag, kind, key), (tag, kind, key) if _lasts(expires, time.time()) else None


def _all_tags(bucket: int, after: Triple, limit: int) -> Call:
    return _ALL_TAGS, (bucket, *after, limit)


def _one_tag(bucket: int, after: Triple, limit: int) -> Call:
    return _TAGGED, (bucket, *after, limit)


def _lasts(expires: float | None, now: float) -> bool:
    return not expires or expires > now
