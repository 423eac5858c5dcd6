"""Bounded batch queues for plugins that deliver records: a slow or dead sink costs no request anything."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from kong_gevent.pdk.kit import EntriesLost

log = logging.getLogger("kong_gevent.queues")
MOST_DOUBLINGS = 40
"""Times that a wait is doubled: more than there can be between the shortest and the longest, and no float overflows."""
SLICE = 0.05
"""A batch is sent when less than this many seconds of its coalescing delay are left."""
CROWDED = 0.8
"""Share of `max_entries` from which on a queue warns."""
REPORTED = 1000
"""After the first lost entry, so many more are lost before the log says so again."""


class BatchQueue:
    """Entries wait for one consumer greenlet, which sends them in batches and retries with back-off (as Kong 3.9).

    `sent` and `dropped` count entries; dropped are those for which the queue was full or retries ran out, of which
    `on_loss` is told, with what the queue is called. The parameters are those of `adjust`.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[Any]], None],
        on_loss: Callable[[str, int], None] = lambda queue, count: None,
        **parameters: Any,
    ) -> None:
        self.name = name
        self.send = send
        self.sent = 0
        self.dropped = 0
        self.on_loss = on_loss
        self._entries: deque[Any] = deque()
        self._bytes = 0
        self._arrived = Event()
        self._closing = False
        self._crowded = False
        self._losing = False
        self._consumer: gevent.Greenlet | None = None
        self._alone: set[gevent.Greenlet] = set()
        self._in_hand = 0
        self.adjust(**parameters)

    def adjust(
        self,
        label: str = "",
        max_batch_size: int = 1,
        max_coalescing_delay: float = 1.0,
        max_entries: int = 10000,
        max_bytes: int | None = None,
        max_retry_time: float = 60.0,
        initial_retry_delay: float = 0.01,
        max_retry_delay: float = 60.0,
        concurrency_limit: int = 1,
    ) -> None:
        """Take these parameters from now on; times in s.

        `label` stands before what is logged. With `concurrency_limit` -1 there is no waiting: each entry is sent at
        once, in a greenlet of its own.
        """
        self.label = label
        self._tag = f"{label} queue {self.name}" if label else f"queue {self.name}"
        self._batch_size = max_batch_size
        self._delay = max_coalescing_delay
        self._limit = max_entries
        self._limit_bytes = max_bytes
        self._retry_time = max_retry_time
        self._first_retry = initial_retry_delay
        self._last_retry = max_retry_delay
        self._waits = concurrency_limit != -1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unsent(self) -> int:
        """Entries that wait or are being sent."""
        return len(self._entries) + self._in_hand

    def put(self, entry: Any) -> None:
        """See `kong_gevent.pdk.kit.Queue.put`."""
        if not self._waits:
            self._send_alone(entry)
            return
        entries = self._entries
        if self._limit_bytes is not None and not self._fits(entry, self._limit_bytes):
            return
        if len(entries) >= self._limit:
            self._drop_oldest()
            self._tell_loss("queue full, dropping old entries until processing is successful again", 1)
        elif not self._crowded and len(entries) >= self._limit * CROWDED:
            self._crowded = True
            log.warning("%s: queue at 80%% capacity", self._tag)
        entries.append(entry)
        if self._consumer is None:
            self._consumer = gevent.spawn(self._consume)
        elif len(entries) >= self._batch_size and not self._arrived.is_set():
            self._arrived.set()  # a batch is full; until then the consumer's own delay wakes it

    def flush(self) -> None:
        """Send all that is waiting without further delay; returns when done or given up."""
        self._closing = True
        self._arrived.set()
        gevent.joinall([*self._alone, *([self._consumer] if self._consumer is not None else [])])
        self._closing = False

    def _fits(self, entry: Any, limit: int) -> bool:
        """Make room for a text or bytes within the limit of bytes; False when it alone is larger."""
        if not isinstance(entry, (str, bytes)):
            return True
        size = len(entry)
        if size > limit:
            self._lose(1)
            log.error("%s: string to be queued is longer (%d bytes) than the queue's max_bytes", self._tag, size)
            return False
        lost = 0
        while self._entries and self._bytes + size > limit:
            self._drop_oldest()
            lost += 1
        if lost:
            self._tell_loss(f"byte capacity exceeded, {lost} queue entries were dropped", lost)
        self._bytes += size
        return True

    def _drop_oldest(self) -> None:
        self._count_out(self._entries.popleft())
        self._lose(1)

    def _lose(self, count: int) -> None:
        self.dropped += count
        self.on_loss(self.label or self.name, count)

    def _count_out(self, entry: Any) -> None:
        if self._bytes and isinstance(entry, (str, bytes)):
            self._bytes -= len(entry)

    def _tell_loss(self, message: str, count: int) -> None:
        """Say that so many entries were just lost: the first time, and whenever many more have been lost since."""
        if not self._losing or self.dropped // REPORTED > (self.dropped - count) // REPORTED:
            log.error("%s: %s", self._tag, message)
        self._losing = True

    def _send_alone(self, entry: Any) -> None:
        if len(self._alone) >= self._limit:
            self._lose(1)
            self._tell_loss("too many entries are being sent, dropping new ones", 1)
            return
        job = gevent.spawn(self._deliver, [entry])
        self._alone.add(job)
        job.link(self._alone.discard)

    def _consume(self) -> None:
        """Send batches until nothing waits."""
        while self._entries:
            self._collect()
            count = min(self._batch_size, len(self._entries))
            batch = [self._entries.popleft() for _ in range(count)]
            for entry in batch if self._bytes else ():
                self._count_out(entry)
            self._deliver(batch)
            if len(self._entries) < self._limit * CROWDED:
                self._crowded = False
        self._bytes = 0  # also of what came before there was a limit
        self._consumer = None

    def _collect(self) -> None:
        began = monotonic()
        while len(self._entries) < self._batch_size and not self._closing:
            left = began + self._delay - monotonic()  # which may have been adjusted meanwhile
            if left < SLICE:
                return
            self._arrived.clear()
            self._arrived.wait(min(left, 1.0))

    def _deliver(self, batch: list[Any]) -> None:
        self._in_hand += len(batch)
        try:
            self._try_to_send(batch)
        finally:
            self._in_hand -= len(batch)

    def _try_to_send(self, batch: list[Any]) -> None:
        began = monotonic()
        attempt = 0
        while not self._sends(batch):
            if monotonic() - began > self._retry_time:
                self._lose(len(batch))
                log.error(
                    "%s: could not send entries due to max_retry_time exceeded. %d queue entries were lost",
                    self._tag,
                    len(batch),
                )
                return
            gevent.sleep(min(self._last_retry, self._first_retry * 2 ** min(attempt, MOST_DOUBLINGS)))
            attempt += 1

    def _sends(self, batch: list[Any]) -> bool:
        """Try once; whether that settled it."""
        try:
            self.send(batch)
        except EntriesLost as error:
            self.sent += len(batch) - error.count
            self._lose(error.count)
            log.error("%s: %s. %d queue entries were lost", self._tag, error, error.count)
            release_frames(error)
            return True
        except Exception as error:
            log.warning("%s: handler could not process entries: %s", self._tag, error)
            release_frames(error)
            return False
        self.sent += len(batch)
        if self._losing:
            self._losing = False
            log.info("%s: queue resumed processing", self._tag)
        return True


def release_frames(error: BaseException | None) -> None:
    """Take an exception, and those that led to it, off the frames they passed, which hold the batch in their variables.

    Such frames are often part of a cycle, and would so keep megabytes until the next collection of garbage.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
