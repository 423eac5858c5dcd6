"""Bounded batch queues for plugins that deliver records: a slow or dead sink costs no request anything."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

log = logging.getLogger("kong_gevent.queues")
SLICE = 0.05
"""A batch is sent when less than this many seconds of its coalescing delay are left."""


class BatchQueue:
    """Entries wait for one consumer greenlet, which sends them in batches and retries with back-off (as Kong 3.9).

    Times in s. `dropped` counts entries lost because the queue was full or retries ran out.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[Any]], None],
        max_batch_size: int = 1,
        max_coalescing_delay: float = 1.0,
        max_entries: int = 10000,
        max_retry_time: float = 60.0,
        initial_retry_delay: float = 0.01,
        max_retry_delay: float = 60.0,
    ) -> None:
        self.name = name
        self.send = send
        self.dropped = 0
        self._batch_size = max_batch_size
        self._delay = max_coalescing_delay
        self._limit = max_entries
        self._retry_time = max_retry_time
        self._first_retry = initial_retry_delay
        self._last_retry = max_retry_delay
        self._entries: deque[Any] = deque()
        self._arrived = Event()
        self._closing = False
        self._warned = False
        self._consumer: gevent.Greenlet | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Any) -> None:
        """See `kong_gevent.pdk.kit.Queue.put`."""
        entries = self._entries
        if len(entries) >= self._limit:
            entries.popleft()
            self.dropped += 1
            if self.dropped == 1 or self.dropped % 1000 == 0:
                log.error("queue %s: queue full, dropping old entries until processing is successful again", self.name)
        elif not self._warned and len(entries) >= self._limit * 0.8:
            self._warned = True
            log.warning("queue %s: queue at 80%% capacity", self.name)
        entries.append(entry)
        if self._consumer is None:
            self._consumer = gevent.spawn(self._consume)
        elif len(entries) >= self._batch_size and not self._arrived.is_set():
            self._arrived.set()  # a batch is full; until then the consumer's own delay wakes it

    def flush(self) -> None:
        """Send all that is waiting without further delay; returns when done or given up."""
        self._closing = True
        self._arrived.set()
        if self._consumer is not None:
            self._consumer.join()

    def _consume(self) -> None:
        """Send batches until nothing waits."""
        while self._entries:
            self._collect()
            count = min(self._batch_size, len(self._entries))
            self._deliver([self._entries.popleft() for _ in range(count)])
            if len(self._entries) < self._limit * 0.8:
                self._warned = False
        self._consumer = None

    def _collect(self) -> None:
        until = monotonic() + self._delay
        while len(self._entries) < self._batch_size and not self._closing:
            left = until - monotonic()
            if left < SLICE:
                return
            self._arrived.clear()
            self._arrived.wait(min(left, 1.0))

    def _deliver(self, batch: list[Any]) -> None:
        began = monotonic()
        attempt = 0
        while True:
            try:
                self.send(batch)
                return
            except Exception as error:
                log.warning("queue %s: could not send %d entries: %s", self.name, len(batch), error)
            if monotonic() - began > self._retry_time:
                self.dropped += len(batch)
                log.error(
                    "queue %s: could not send entries due to max_retry_time exceeded. %d queue entries were lost",
                    self.name,
                    len(batch),
                )
                return
            gevent.sleep(min(self._last_retry, self._first_retry * 2**attempt))
            attempt += 1
