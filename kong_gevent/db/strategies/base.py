"""What a datastore must offer: rows under (kind, id) and four kinds of index rows, changed together or not at all.

The contract asks for nothing that a plain key-value store with conditional writes could not do: rows are opaque bytes,
every index row is named by the writer, writes are conditional on the version that was read. Relational stores map it
to a few tables; Cassandra maps unique values to rows claimed by lightweight transactions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gevent.pool import Pool

from kong_gevent.errors import GatewayError

READERS = 16
"""Rows that are read at once where a store has no better way to read many."""
EVENT_LIFETIME = 3600.0
"""Seconds for which events are kept at least: a reader that was away longer reloads everything."""


SIGNAL = "signal"
"""`op` of an event that tells of no entity: `entity` is the topic, `key` the text."""


@dataclass(frozen=True, slots=True)
class Index:
    """The index rows of one entity.

    `unique`: (field, value) pairs that no other row of the kind may hold; `parents`: (field, parent kind, parent id)
    of the rows this one refers to, which must exist; `tags`.
    """

    unique: tuple[tuple[str, str], ...] = ()
    parents: tuple[tuple[str, str, str], ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A stored entity: JSON bytes, the version that a conditional write names, and when it expires (epoch s)."""

    kind: str
    id: str
    body: bytes
    version: int
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Store a row with its index rows. `version`: that of the row it replaces; None: there must be none."""

    kind: str
    id: str
    body: bytes
    index: Index
    version: int | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a row with its index rows; nothing may refer to it once the whole commit is done."""

    kind: str
    id: str
    version: int


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Change:
    """An event to be written: what happened to which entity, and the cache keys (old and new) that it touches."""

    entity: str
    key: str
    op: str
    cache_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A written event; `origin` tells who wrote it: a node, for as long as it runs.

    Ids grow in the order of the commits, not always by one; where they begin is the strategy's business.
    """

    id: int
    entity: str
    key: str
    op: str
    cache_keys: tuple[str, ...] = ()
    origin: str = ""


class CommitRefused(GatewayError):
    """Base: a commit broke a condition; nothing of it was stored. `kind`: of the row that was refused."""

    kind: str


@dataclass(eq=False)
class Exists(CommitRefused):
    """A row that must be new is there already."""

    kind: str
    id: str


@dataclass(eq=False)
class Stale(CommitRefused):
    """A row changed, or went away, since it was read."""

    kind: str
    id: str


@dataclass(eq=False)
class Duplicate(CommitRefused):
    """Another row holds a unique value."""

    kind: str
    field: str
    value: str


@dataclass(eq=False)
class MissingParent(CommitRefused):
    """A row refers to one that is not there."""

    kind: str
    field: str
    parent_kind: str
    parent_id: str


@dataclass(eq=False)
class Referenced(CommitRefused):
    """A row to delete is referred to by another."""

    kind: str
    id: str
    child_kind: str


@dataclass(slots=True)
class Meta:
    """State of the migrations in a store: name → "up" (second half outstanding) or "done"; None: no tables yet."""

    migrations: dict[str, str] | None = None
    values: dict[str, str] = field(default_factory=dict)


class Strategy(ABC):
    """One datastore. Methods may be called from any greenlet and never block the hub; ids are lower-case UUIDs.

    Expired rows are invisible from the moment they expire. Every method raises `errors.StoreUnavailable` when the
    store cannot be used.
    """

    name: str = ""

    def lookups(self) -> Strategy:
        """What look-ups of single rows for proxied requests may read: this store, or a copy of it nearby."""
        return self

    @abstractmethod
    def connect(self) -> None:
        """Open the store, as far as that happens ahead of use."""

    @abstractmethod
    def close(self) -> None:
        """Release connections; the strategy may be used again afterwards."""

    @abstractmethod
    def ping(self) -> None:
        """Return when the store answers a read; raises `StoreUnavailable` otherwise."""

    @abstractmethod
    def read(self, kind: str, key: str) -> Row | None:
        """The row with this id."""

    def read_many(self, kind: str, keys: Sequence[str]) -> list[Row | None]:
        """What `read` gives for each of some ids, in their order."""
        return list(Pool(READERS).imap(lambda key: self.read(kind, key), keys))

    @abstractmethod
    def find(self, kind: str, field: str, value: str) -> Row | None:
        """The row that holds a unique value."""

    def find_many(self, kind: str, values: Sequence[tuple[str, str]]) -> list[Row | None]:
        """What `find` gives for each of some (field, value), in their order."""
        return list(Pool(READERS).imap(lambda pair: self.find(kind, *pair), values))

    @abstractmethod
    def page(
        self, kind: str, after: str | None, size: int, tags: Sequence[str] = (), match_all: bool = True
    ) -> list[Row]:
        """At most `size` rows with ids greater than `after`, by id; with all (or any) of the tags."""

    @abstractmethod
    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        """At most `size` rows of a kind that refer to `parent` (kind, id) by a field, by id."""

    @abstractmethod
    def count(self, kind: str) -> int:
        """Number of rows of a kind."""

    @abstractmethod
    def tagged(self, tag: str | None, after: tuple[str, str, str] | None, size: int) -> list[tuple[str, str, str]]:
        """(tag, kind, id) triples in that order, of one tag or of all, greater than `after`."""

    @abstractmethod
    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        """Apply everything or nothing, durably. Raises a `CommitRefused` when a condition does not hold."""

    @abstractmethod
    def events_after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        """Events with greater ids, in order. Raises `EventsLost` when some are gone already.

        `settled`: they include those of every commit of which a row could be read before, be it half done.
        """

    @abstractmethod
    def event_range(self) -> tuple[int, int]:
        """Ids of the oldest event kept (newest + 1 if none is) and of the newest one written (0 before the first)."""

    @abstractmethod
    def push_counts(self, origin: str, counts: Mapping[str, tuple[int, float]]) -> None:
        """Publish how far `origin` has counted: key → (its own total so far, epoch s at which the counter ends).

        Totals of one origin only grow and every origin writes its own, so repeating a call, or calls that overtake one
        another, change nothing; the smaller total loses.
        """

    @abstractmethod
    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """The totals of all origins by key; keys that nobody has counted, and those that have ended, are absent."""

    @abstractmethod
    def prune(self) -> None:
        """Remove expired rows, counters that have ended, and events older than `EVENT_LIFETIME`."""

    @abstractmethod
    def meta(self) -> Meta:
        """What the migrations know."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the tables that the migrations themselves need; harmless when they exist, safe in two processes."""

    @abstractmethod
    def migrate(self, name: str, state: str, step: Any) -> None:
        """Run one half of a migration (`step`: SQL, a function or None) and record its state, in one transaction."""

    @abstractmethod
    def set_value(self, name: str, value: str) -> str:
        """Store a value once; returns the stored one (an earlier one wins)."""

    @abstractmethod
    def lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a lock that ends by itself after `seconds`; False while another owner holds it."""

    @abstractmethod
    def unlock(self, name: str, owner: str) -> None:
        """Give a lock back."""

    @abstractmethod
    def reset(self) -> None:
        """Remove everything, the migrations' tables too."""
