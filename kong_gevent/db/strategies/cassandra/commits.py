"""Commits of one process: those that wait while one is under way go into the next entry of the log together.

Each still succeeds or fails by itself: it is validated over the outcome of those before it. That makes the rate of
commits independent of the time that one takes.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import gevent
from gevent.event import AsyncResult

from kong_gevent.db.strategies.base import Change, CommitRefused, Operation
from kong_gevent.db.strategies.cassandra.draft import Draft, Needs, Snapshot
from kong_gevent.db.strategies.cassandra.entry import Entry, Note, Point
from kong_gevent.db.strategies.cassandra.log import CommitLog, next_entry
from kong_gevent.db.strategies.cassandra.snapshots import SnapshotReader
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable

MOST_COMMITS = 64
"""Commits that go into one entry at most."""
MOST_OPERATIONS = 2000
"""Operations in one entry, unless a single commit has more."""
PATIENCE = 30.0
"""Seconds for which commits of other processes may keep overtaking before the store counts as busy."""
RIVALRY = 2.0
"""Seconds for which other writers are expected after one was noticed."""
COURTESY = 0.05
"""Seconds that a proposal waits for another one which goes first."""
_GLANCE = 0.003


@dataclass(slots=True, eq=False)
class Waiting:
    """A commit and where its caller waits for the outcome."""

    operations: Sequence[Operation]
    changes: Sequence[Change]
    origin: str
    outcome: AsyncResult = field(default_factory=AsyncResult)

    @property
    def length(self) -> int:
        """Event ids that it takes: at least one, which tells its rows' versions from those of other commits."""
        return max(1, len(self.changes))


class Committer:
    """The commits of one process, in a greenlet that exists while there are any."""

    def __init__(self, log: CommitLog, reader: SnapshotReader) -> None:
        self._commit_log = log
        self._reader = reader
        self._queue: deque[Waiting] = deque()
        self._running = False
        self._head: Point | None = None
        self._rivals_until = 0.0

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        """Do it or raise: `CommitRefused`, `StoreUnavailable` (nothing happened), `OutcomeUnknown`."""
        waiting = Waiting(operations, changes, origin)
        self._queue.append(waiting)
        if not self._running:
            self._running = True
            gevent.spawn(self._work)
        waiting.outcome.get()

    def _work(self) -> None:
        try:
            while self._queue:
                self._together([self._queue.popleft()])
        finally:
            self._running = False

    def _gather(self, group: list[Waiting]) -> Needs:
        """Let more commits join, and tell what all of them need."""
        size = sum(len(waiting.operations) for waiting in group)
        while self._queue and len(group) < MOST_COMMITS:
            size += len(self._queue[0].operations)
            if size > MOST_OPERATIONS:
                break
            group.append(self._queue.popleft())
        needs = Needs()
        for waiting in group:
            needs.add(waiting.operations)
        return needs

    def _together(self, group: list[Waiting]) -> None:
        outcomes: Sequence[Exception | None]
        try:
            outcomes = self._store(group)
        except Exception as error:
            self._head = None
            outcomes = [error] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                waiting.outcome.set(None)
            else:
                waiting.outcome.set_exception(outcome)

    def _store(self, group: list[Waiting]) -> Sequence[Exception | None]:
        """Store what can be stored of a group, which may grow; what to raise, None for a commit that is done."""
        until = time.monotonic() + PATIENCE
        attempt = 0
        while True:
            if attempt:
                self._give_way(attempt, until)
            attempt += 1
            snapshot = self._read(self._gather(group))
            if snapshot is None:
                continue
            head = self._head
            assert head is not None
            entry, refusals = _validate(group, snapshot, head, attempt)
            if entry is None:
                # A refusal counts if what was read is the state at one moment, so nobody may have come in between.
                if self._commit_log.state().head == head:
                    return refusals
                self._overtaken()
                continue
            self._commit_log.propose(entry)
            if self._may_try(entry) and self._commit_log.advance(entry):
                return self._finish(entry, refusals)
            self._overtaken()

    def _read(self, needs: Needs) -> Snapshot | None:
        """What is needed, as it is at the head; None when the head moved on meanwhile.

        What this process stored last usually is the head still, so that head and rows are read at once.
        """
        if self._head is None:
            self._head = self._commit_log.settled()
        state, snapshot = self._reader.read(needs, self._commit_log)
        if state is None or state.head != self._head:
            self._overtaken()
            return None
        return snapshot

    def _overtaken(self) -> None:
        self._head = None
        self._rivals_until = time.monotonic() + RIVALRY

    def _may_try(self, entry: Entry) -> bool:
        """Whether it is this proposal's turn, as far as one can see; False when another one was made the head."""
        if time.monotonic() > self._rivals_until:
            return True
        until = time.monotonic() + COURTESY
        while True:
            gevent.sleep(_GLANCE)
            standing = self._commit_log.standing(entry)
            if standing is None or standing:
                return bool(standing)
            if time.monotonic() > until:
                return True

    def _finish(self, entry: Entry, refusals: Sequence[CommitRefused | None]) -> Sequence[Exception | None]:
        """Store an entry that is part of history; what to raise. Refusals hold, whatever becomes of the others."""
        try:
            self._commit_log.apply(entry)
            self._commit_log.raise_mark(entry.point)
        except StoreUnavailable as error:
            self._head = None
            text = f"the change is made and becomes visible when the store can be reached again: {error}"
            return [refusal or OutcomeUnknown(text) for refusal in refusals]
        self._head = entry.point
        return refusals

    def _give_way(self, attempt: int, until: float) -> None:
        if time.monotonic() > until:
            raise StoreUnavailable("the store is busy: changes by other nodes kept overtaking this one")
        if attempt > 2:
            gevent.sleep(random.random() * 0.002 * min(attempt, 10))


def _validate(
    group: Sequence[Waiting], snapshot: Snapshot, head: Point, attempt: int
) -> tuple[Entry | None, list[CommitRefused | None]]:
    """One entry with all commits that hold (None if none does), and why the others do not."""
    draft = Draft(snapshot, time.time())
    refusals: list[CommitRefused | None] = []
    notes: list[Note] = []
    length = 0
    for waiting in group:
        try:
            draft.add(waiting.operations, head.seq + length + waiting.length)
        except CommitRefused as refusal:
            refusals.append(refusal)
            continue
        refusals.append(None)
        notes += [Note(length + number, change, waiting.origin) for number, change in enumerate(waiting.changes, 1)]
        length += waiting.length
    if not length:
        return None, refusals
    difference = draft.difference()
    return Entry(next_entry(head, length, attempt), head, difference.puts, difference.drops, notes), refusals
