"""Entities as they are kept in Cassandra: one cell with everything, of which every index row carries a copy.

The cell is a line of JSON (kind, id, version, expiry, index rows) and the body behind it. One cell, so that a reader
never sees parts of two versions, and so that a look-up by a unique value is one read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import Index, Row

BUCKETS = 64
"""Partitions of one kind of entities, by the leading bits of their ids: the order of the ids is that of the buckets."""

LONGEST_KEY = 1024
"""Bytes of a unique value that are used as they are; longer ones are replaced by their digest."""

_DIGEST = "\0sha256:"


@dataclass(frozen=True, slots=True)
class Stored:
    """A row with its index rows, and both as the cell holds them."""

    row: Row
    index: Index
    data: bytes

    @property
    def key(self) -> tuple[str, str]:
        """Kind and id."""
        return self.row.kind, self.row.id

    def live(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.row.expires is None or self.row.expires > now


def pack(row: Row, index: Index) -> Stored:
    """What is stored for a row."""
    head = codec.dumps([row.kind, row.id, row.version, row.expires, index.unique, index.parents, index.tags])
    return Stored(row, index, head + b"\n" + row.body)


def unpack(data: bytes) -> Stored:
    """The inverse of `pack`."""
    head, body = data.split(b"\n", 1)
    kind, key, version, expires, unique, parents, tags = codec.loads(head)
    index = Index(
        tuple((field, value) for field, value in unique),
        tuple((field, parent_kind, parent_id) for field, parent_kind, parent_id in parents),
        tuple(tags),
    )
    return Stored(Row(kind, key, body, version, expires), index, data)


def unpack_row(data: bytes) -> Row:
    """Only the row: what look-ups and lists need."""
    head, body = data.split(b"\n", 1)
    kind, key, version, expires, *_ = codec.loads(head)
    return Row(kind, key, body, version, expires)


def bucket_of(key: str) -> int:
    """The partition of an id: its leading six bits."""
    return int(key[:2], 16) >> 2


def tag_bucket(tag: str) -> int:
    """The partition of a tag: its first byte, so that the order of the tags is that of the buckets."""
    return tag.encode()[0] if tag else 0


def unique_key(value: str) -> str:
    """A unique value as a part of a partition's key, whose length Cassandra limits."""
    raw = value.encode()
    if len(raw) <= LONGEST_KEY and not value.startswith("\0"):
        return value
    return _DIGEST + hashlib.sha256(raw).hexdigest()
