"""Events, read from the commit log: in the order of the commits, complete, or `EventsLost`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import gevent

from kong_gevent.db.strategies.base import EVENT_LIFETIME, Event
from kong_gevent.db.strategies.cassandra.entry import Call, Point, read_events
from kong_gevent.db.strategies.cassandra.log import BUCKET, CommitLog, State
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.db.strategies.told import Told
from kong_gevent.errors import EventsLost

PATIENCE = 1.0
"""Seconds for which a process may take to store what it committed, before whoever sees it finishes it."""
_PATIENCE_SPREAD = 0.3
_PACE = 5000
"""Changes for which that time is granted once more: all who look would store a large commit again beside its writer."""
_GLANCE = 0.003
_AT_ONCE = 8
_NOTES = (
    "SELECT seq, entry, part, parts, won, at, prev_seq, prev_entry, notes FROM log "
    "WHERE bucket = ? AND seq > ? AND seq <= ?"
)
# Filtering within one partition; only the first part of an entry is marked as won.
_OLDEST = "SELECT prev_seq FROM log WHERE bucket = ? AND won = true AND at >= ? LIMIT 1 ALLOW FILTERING"


@dataclass(slots=True)
class _Found:
    """An entry of the log with its events."""

    point: Point
    prev_seq: int
    prev_entry: UUID
    notes: list[bytes]

    def events(self) -> list[Event]:
        return read_events(self.notes, self.prev_seq)


class EventReader:
    """Reads events up to the mark, so that what they tell of can be read already.

    It remembers up to which entry it has read for each cursor: one that does not follow it shows that history forked,
    or that the store is another one. Entries behind a cursor that have no events, as the audit log makes them, are read
    once; they do not make the events before them too old.
    """

    def __init__(self, session: CassandraSession, log: CommitLog) -> None:
        self._session = session
        self._commit_log = log
        self._told: Told[Point] = Told()
        self._unapplied: tuple[UUID, float] | None = None

    def after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        """Events with greater ids, `limit` at most. With nothing new this is one read of one row or two.

        `settled`: what is being stored right now is waited for, because some of its rows can be read already.
        """
        state = self._settled_state() if settled else self._state()
        cursor = cursor or state.first
        top = state.mark
        told = self._told.get(cursor)
        at = told or Point(cursor, UUID(int=0), 0)
        if cursor < state.first or at.seq > max(top.seq, state.head.seq):
            raise EventsLost(f"event {cursor} is not of this store")
        if told is not None and at.seq == state.head.seq and at.entry != state.head.entry:
            raise EventsLost(f"event {cursor} was replaced by another one: history forked")
        if at.seq >= top.seq:
            return []
        found: list[Event] = []
        for entry in self._entries(at.seq, top.seq):
            at = self._follow(at, entry)
            found += [event for event in entry.events() if event.id > cursor]
            if len(found) >= limit:
                break
        else:
            if at.seq != top.seq or at.entry != top.entry:
                raise EventsLost(f"events {at.seq + 1} to {top.seq} are gone")
        if not found[limit:]:
            self._told.remember(found[-1].id if found else cursor, at)
        return found[:limit]

    def range(self) -> tuple[int, int]:
        """Ids of the oldest event that can still be read and of the newest one."""
        state = self._state()
        last = state.mark
        if last.seq == state.first:
            return 1, 0
        self._told.remember(last.seq, last)
        return self._oldest(state), last.seq

    def _state(self) -> State:
        """The log's state; what another process should have stored by now is stored first."""
        state = self._commit_log.state()
        if state.applied:
            self._unapplied = None
            return state
        now = time.monotonic()
        if self._unapplied is None or self._unapplied[0] != state.head.entry:
            # Nobody else stores here what was committed in another data centre.
            patience = (PATIENCE if state.local else 0.0) + random.random() * _PATIENCE_SPREAD
            self._unapplied = state.head.entry, now + patience * (1 + (state.head.seq - state.mark.seq) / _PACE)
        if now < self._unapplied[1]:
            return state
        self._unapplied = None
        self._commit_log.settled(state)
        return self._commit_log.state()

    def _settled_state(self) -> State:
        """A state in which everything is stored that has been committed by now."""
        state = self._state()
        committed = state.head.seq
        while state.mark.seq < committed:
            gevent.sleep(_GLANCE)
            state = self._state()
        return state

    def _follow(self, at: Point, entry: _Found) -> Point:
        """The end of an entry, if it follows what was read so far."""
        unknown = at.entry.int == 0
        gap = not entry.prev_seq <= at.seq < entry.point.seq if unknown else entry.prev_seq != at.seq
        if gap or (not unknown and entry.prev_entry != at.entry):
            raise EventsLost(f"events {at.seq + 1} to {entry.prev_seq} are gone, or history forked")
        if entry.point.at < time.time() - EVENT_LIFETIME:
            raise EventsLost(f"events {at.seq + 1} to {entry.point.seq} are too old")
        return entry.point

    def _entries(self, after: int, until: int) -> Iterable[_Found]:
        """Entries of history that end after one id and up to another, in order."""
        for bucket in range((after + 1) // BUCKET, until // BUCKET + 1):
            found: dict[tuple[int, UUID], _Found] = {}
            missing: dict[tuple[int, UUID], int] = {}
            for seq, entry, part, parts, won, at, prev_seq, prev_entry, notes in self._session.run(
                _NOTES, (bucket, after, until), level="write"
            ):
                if part == 0 and won:
                    if parts is None:
                        raise EventsLost(f"events up to {seq} are gone, but for the note that there were some")
                    found[seq, entry] = _Found(Point(seq, entry, at), prev_seq, prev_entry, [])
                    missing[seq, entry] = parts
                if (seq, entry) in found:
                    found[seq, entry].notes.append(notes)
                    missing[seq, entry] -= 1
            for key, entry_found in found.items():
                if missing[key]:
                    raise EventsLost(f"parts of events up to {key[0]} are gone")
                yield entry_found

    def _oldest(self, state: State) -> int:
        """Walks back through the partitions of the log until one has nothing that is young enough."""
        youngest = int(time.time() - EVENT_LIFETIME)
        oldest = state.mark.seq + 1
        newest, last = state.mark.seq // BUCKET, state.first // BUCKET
        for start in range(newest, last - 1, -_AT_ONCE):
            buckets = range(start, max(start - _AT_ONCE, last - 1), -1)
            calls: list[Call] = [(_OLDEST, (bucket, youngest)) for bucket in buckets]
            for bucket, rows in zip(buckets, self._session.run_all(calls, level="write"), strict=True):
                if bucket > (oldest - 1) // BUCKET:
                    continue  # one entry was larger than a partition's share
                if not rows:
                    return oldest
                oldest = rows[0][0] + 1
        return oldest
