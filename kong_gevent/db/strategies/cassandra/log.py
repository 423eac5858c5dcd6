"""The commit log: what makes many rows change at once in a database without transactions.

A commit is a *proposal*, written to the log under an id of its own, and becomes real when one lightweight transaction
makes the log's *head* point at it: `IF` the head still is where the proposal was validated. From then on it is redone
rather than undone: its rows are stored by plain statements whose timestamp is the entry's number, so that anybody may
repeat them at any time; then the *mark* is raised to it. Whoever finds the head ahead of the mark may be seeing a
process at work, or what one left behind when it died, and finishes it before going on.

Entries lead back to the ones they follow. Proposals that lost are referred to by nothing and expire. Statements may be
repeated, also after an entry has gone: then there is a row that says that it won, and nothing else.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import gevent

from kong_gevent.db.strategies.cassandra.entry import Call, Entry, Point, read_drops, read_puts
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable

LOG_LIFETIME = 3 * 24 * 3600
"""Seconds for which entries are kept. Later nobody could finish them: more than an outage of all nodes may last."""
BUCKET = 4096
"""Event ids per partition of the log."""
SETTLE_SECONDS = 20.0
"""How long the outcome of a conditional write is asked for, before it is given up as unknown."""
_SETTLE_PAUSE = 0.1
LOST_AFTER = 600.0
"""Seconds for which an entry that cannot be read is waited for: in another data centre it may still be on its way."""

_log = logging.getLogger(__name__)
_HEAD, _MARK = "head", "mark"
_STATE = "SELECT item, seq, entry, at, first, place FROM log_state WHERE log = 'main'"
_BEGIN = "INSERT INTO log_state (log, item, seq, entry, at, first) VALUES ('main', 'head', ?, ?, ?, ?) IF NOT EXISTS"
_ADVANCE = (
    "UPDATE log_state SET seq = ?, entry = ?, at = ?, place = ? WHERE log = 'main' AND item = 'head' "
    "IF seq = ? AND entry = ?"
)
_RAISE = "INSERT INTO log_state (log, item, seq, entry, at) VALUES ('main', ?, ?, ?, ?) USING TIMESTAMP ?"
_PROPOSE = (
    "INSERT INTO log (bucket, seq, entry, part, parts, prev_seq, prev_entry, prev_at, at, puts, drops, notes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
_WON = "UPDATE log USING TTL ? SET won = true WHERE bucket = ? AND seq = ? AND entry = ? AND part = 0"
_CHAIN = "SELECT seq, entry, at, prev_seq, prev_entry, prev_at, part FROM log WHERE bucket = ? AND seq > ? AND seq <= ?"
_PROPOSALS = "SELECT entry, prev_entry FROM log WHERE bucket = ? AND seq > ?"
_BODY = "SELECT parts, puts, drops FROM log WHERE bucket = ? AND seq = ? AND entry = ?"


class EntryMissing(StoreUnavailable):
    """Something that was committed cannot be read, so that it cannot be stored completely, and nothing after it."""


@dataclass(frozen=True, slots=True)
class State:
    """The head, the mark (what is stored completely, as seen from here), and the number before the first event.

    `local`: whether whoever moved the head raises this mark, too.
    """

    head: Point
    mark: Point
    first: int
    local: bool

    @property
    def applied(self) -> bool:
        """Whether everything that was committed is stored."""
        return self.mark.seq >= self.head.seq


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the chain: where it ends, and what it follows."""

    point: Point
    before: Point


class CommitLog:
    """The log of one keyspace. `place`: whose reads the mark speaks for, a data centre or "" for all of them.

    Rows reach other data centres a little after they were stored, in any order. So each has a mark of its own, which is
    raised by those who have stored (or repeated) the entries with the consent of replicas there.
    """

    def __init__(self, session: CassandraSession, place: str = "") -> None:
        self._session = session
        self._place = place
        self._mark = f"{_MARK}:{place}" if place else _MARK
        self._missing_since: dict[UUID, float] = {}

    def state(self, level: str = "write") -> State:
        """Head and mark, in one read. A log that nobody has begun is begun."""
        found = self.parse(self._session.run(_STATE, level=level))
        if found is None:
            self._begin()
            found = self.parse(self._session.run(_STATE, level="serial"))
        if found is None:
            raise StoreUnavailable("the commit log of the Cassandra keyspace has no head; run 'migrations bootstrap'")
        return found

    @property
    def state_call(self) -> Call:
        """The statement of `state`, to be run together with others; `parse` reads its rows."""
        return _STATE, ()

    def parse(self, rows: Sequence[tuple[Any, ...]]) -> State | None:
        """The state from the rows of `state_call`; None if the log has not begun."""
        items = {row[0]: row for row in rows}
        if _HEAD not in items:
            return None
        _, seq, entry, at, first, place = items[_HEAD]
        beginning = Point(first, UUID(int=first), 0)
        marked = items.get(self._mark)
        mark = Point(*marked[1:4]) if marked else beginning
        return State(Point(seq, entry, at), mark, first, (place or "") == self._place)

    def _begin(self) -> None:
        first = time.time_ns() // 1000
        try:
            self._session.run(_BEGIN, (first, UUID(int=first), int(time.time()), first), level="lwt", idempotent=False)
        except OutcomeUnknown:
            _log.debug("whether the commit log was begun is not known; it is read next")

    def propose(self, entry: Entry) -> None:
        """Write an entry's rows; nothing refers to them yet."""
        parts = entry.parts()
        point, before = entry.point, entry.before
        calls = [
            (
                _PROPOSE,
                (
                    *(point.seq // BUCKET, point.seq, point.entry, number, len(parts)),
                    *(before.seq, before.entry, before.at, point.at, *part.encoded(), LOG_LIFETIME),
                ),
            )
            for number, part in enumerate(parts)
        ]
        try:
            self._session.run_all(calls, level="write")
        except OutcomeUnknown as error:
            raise StoreUnavailable(f"nothing was changed: {error}") from error

    def standing(self, entry: Entry) -> bool | None:
        """Whether a proposal is the first of those made to follow the same entry; None when it can no longer win.

        Conditional writes that meet make the servers wait for up to a tenth of a second, so it pays to take turns.
        """
        before = entry.before
        buckets = sorted({(before.seq + 1) // BUCKET, entry.point.seq // BUCKET})
        calls = [self.state_call, *((_PROPOSALS, (bucket, before.seq)) for bucket in buckets)]
        rows, *proposals = self._session.run_all(calls, level="write")
        state = self.parse(rows)
        if state is None or state.head != before:
            return None
        rivals = [other for found in proposals for other, prev_entry in found if prev_entry == before.entry]
        return all(other >= entry.point.entry for other in rivals)

    def advance(self, entry: Entry) -> bool:
        """Make an entry the head if the head is the one that it follows; whether it is part of history now.

        Raises `OutcomeUnknown` when that cannot be found out, `StoreUnavailable` when nothing was changed.
        """
        point, before = entry.point, entry.before
        values = (point.seq, point.entry, point.at, self._place, before.seq, before.entry)
        until = time.monotonic() + SETTLE_SECONDS
        doubt: StoreUnavailable | None = None
        while True:
            try:
                won = self._session.run(_ADVANCE, values, level="lwt", idempotent=False)[0][0]
                return bool(won) or (doubt is not None and self._includes(entry))
            except StoreUnavailable as error:
                if doubt is None and not isinstance(error, OutcomeUnknown):
                    raise
                # The same proposal again: whichever of the tries succeeds, it is this one.
                doubt = error
            if time.monotonic() > until:
                raise OutcomeUnknown(f"the change may have been made, now or later: {doubt}") from doubt
            gevent.sleep(_SETTLE_PAUSE)

    def _includes(self, entry: Entry) -> bool:
        """Whether the head is an entry or leads back to it."""
        head = self.state("serial").head
        return head == entry.point or any(link.point == entry.point for link in self._chain(entry.before, head))

    def settled(self, state: State | None = None) -> Point:
        """The head, when everything up to it is stored; finishes what somebody has left undone."""
        state = state or self.state()
        if state.applied:
            return state.head
        for link in self._chain(state.mark, state.head):
            self._redo(link)
        self.raise_mark(state.head)
        self._missing_since.clear()
        return state.head

    def apply(self, entry: Entry) -> None:
        """Store what an entry says and note in the log that it is part of history. The mark is not raised."""
        self._session.run_all([*entry.statements(time.time()), _won(entry.point)], level="write")

    def raise_mark(self, point: Point) -> None:
        """Note that everything up to an entry is stored; a mark that is higher already stays."""
        self._session.run(_RAISE, (self._mark, point.seq, point.entry, point.at, point.seq), level="write")

    def _redo(self, link: Link) -> None:
        point = link.point
        rows = self._session.run(_BODY, (point.seq // BUCKET, point.seq, point.entry), level="write")
        if not rows or len(rows) < (rows[0][0] or math.inf):
            self._missing(point)
            return
        puts, drops = read_puts(row[1] for row in rows), read_drops(row[2] for row in rows)
        self.apply(Entry(point, link.before, puts, drops, []))

    def _missing(self, point: Point) -> None:
        """An entry that should be there cannot be read: late, expired, or lost with the servers that had it."""
        since = self._missing_since.setdefault(point.entry, time.monotonic())
        if point.at < time.time() - LOG_LIFETIME:
            _log.warning("entries of the commit log up to %d expired before they were noted as stored here", point.seq)
        elif time.monotonic() - since > LOST_AFTER:
            _log.error(
                "entry %d of the commit log is lost, and what was changed with it may be stored in part", point.seq
            )
        else:
            raise EntryMissing(
                f"entry {point.seq} of the commit log cannot be read yet: Cassandra nodes that have it must come back"
            )

    def _chain(self, start: Point, end: Point) -> list[Link]:
        """The entries after `start` up to `end`, in order, found by walking back from `end`."""
        links: dict[tuple[int, UUID], Link] = {}
        for rows in self._session.run_all(list(_ranges(_CHAIN, start.seq, end.seq)), level="write"):
            for seq, entry, at, prev_seq, prev_entry, prev_at, part in rows:
                if part == 0 and prev_seq is not None:
                    links[seq, entry] = Link(Point(seq, entry, at), Point(prev_seq, prev_entry, prev_at))
        chain: list[Link] = []
        at = end
        while at.seq > start.seq:
            link = links.get((at.seq, at.entry))
            if link is None:
                self._missing(at)
                break
            chain.append(link)
            at = link.before
        if at.seq <= start.seq and at.entry != start.entry and start.at:
            _log.error("the commit log forked at entry %d: two parts of the cluster changed it apart", start.seq)
        return chain[::-1]


def next_entry(before: Point, length: int, attempt: int) -> Point:
    """Where an entry with this many event ids will end. The more attempts were overtaken, the earlier its turn."""
    turn = max(0xFFFF - attempt, 0) << 112
    return Point(before.seq + length, UUID(int=turn | uuid4().int & (1 << 112) - 1), int(time.time()))


def _won(point: Point) -> Call:
    return _WON, (LOG_LIFETIME, point.seq // BUCKET, point.seq, point.entry)


def _ranges(query: str, after: int, until: int) -> Iterator[Call]:
    """The partitions that hold entries which end after one number and up to another."""
    for bucket in range((after + 1) // BUCKET, until // BUCKET + 1):
        yield query, (bucket, after, until)
