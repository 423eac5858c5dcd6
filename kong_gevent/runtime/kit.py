"""The kit that plugins of this worker get (see `kong_gevent.pdk.kit.Kit` for what each method promises)."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeVar, TypeVarTuple
from uuid import uuid4
from weakref import WeakValueDictionary

import gevent

from kong_gevent.errors import GatewayError
from kong_gevent.offload import offload
from kong_gevent.pdk.kit import Conclusions, Counters, LookupFailed, NodeCache, NodeView, Redis, SharedCounters
from kong_gevent.pdk.metrics import Metrics
from kong_gevent.runtime.caches import LookupCache
from kong_gevent.runtime.entities import EntityAccess, found
from kong_gevent.runtime.queues import BatchQueue
from kong_gevent.runtime.sharing import Sharing

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class WorkerKit:
    """One worker's kit."""

    def __init__(
        self,
        node_id: str,
        store: Any,
        cache: LookupCache,
        counters: Counters,
        metrics: Metrics,
        sharing: Sharing | None = None,
        *,
        runs_programs: bool = True,
        classic_answers: bool = False,
    ) -> None:
        self.node_id = node_id
        self.hostname = socket.gethostname()
        self.worker_pid = os.getpid()
        self.worker_uuid = str(uuid4())
        self.log = logging.getLogger("kong_gevent.plugins")
        self.runs_programs = runs_programs
        self.classic_answers = classic_answers
        self.counters: Counters = counters
        self.metrics: Metrics = metrics
        self.node: NodeView
        self.node_cache: NodeCache
        self.listeners: dict[str, Callable[[str], None]] = {}
        self._sharing = sharing
        self._store = store
        self._cache = cache
        self._kept = cache.kept
        # A queue lives as long as a configuration uses it, or something waits in it.
        self._queues: WeakValueDictionary[str, BatchQueue] = WeakValueDictionary()
        self._losses = metrics.counter(
            "kong_queue_entries_lost_total", "Entries of plugins' queues that were dropped or given up", "queue"
        )
        self.publish: Callable[[], None] = lambda: None
        """Tells all workers that a plugin has written to the store; set by the node."""
        self.timers = 0

    def cached(self, key: str, load: Callable[[], T], ttl: float | None = None, negative_ttl: float | None = None) -> T:
        """See `Kit.cached`."""
        try:
            return self._cache.get(key, load, ttl, negative_ttl)  # type: ignore[no-any-return]
        except GatewayError as error:
            raise LookupFailed(str(error)) from error

    def select_by(self, entity: str, field: str, value: str) -> dict[str, Any] | None:
        """See `Kit.select_by`."""
        key = f"{entity}:{field}:{value}"
        kept = self._kept(key)
        if kept is not None and kept[1] > monotonic():
            return kept[0]  # type: ignore[no-any-return]
        return self.cached(key, lambda: found(self._store.lookups[entity].select_by, field, value))

    def entities(self, name: str) -> EntityAccess:
        """See `Kit.entities`."""
        return EntityAccess(self._store.dao(name), self._store.lookups[name], self.cached, lambda: self.publish())

    def load_consumer(self, id_or_username: str, by_username: bool = False) -> dict[str, Any] | None:
        """See `Kit.load_consumer`."""
        key = f"consumers:id:{id_or_username}".lower()  # as events name it
        kept = self._kept(key)
        consumer: dict[str, Any] | None
        if kept is not None and kept[1] > monotonic():
            consumer = kept[0]
        else:
            consumer = self.cached(key, lambda: found(self._store.lookups["consumers"].select, id_or_username))
        if consumer is None and by_username:
            consumer = self.select_by("consumers", "username", id_or_username)
        return consumer

    def memory(self) -> Conclusions:
        """See `Kit.memory`."""
        return self._cache.memory()

    def shared_counters(self, tolerant: bool = True) -> SharedCounters:
        """See `Kit.shared_counters`."""
        return self._shares().store_counters(tolerant)

    def redis(self, options: Mapping[str, Any]) -> Redis:
        """See `Kit.redis`."""
        return self._shares().redis(options)

    def _shares(self) -> Sharing:
        if self._sharing is None:
            raise RuntimeError("this process shares nothing with other nodes")
        return self._sharing

    def tls_context(self, verify: bool) -> ssl.SSLContext:
        """See `Kit.tls_context`."""
        return self._shares().tls_context(verify)

    def signal(self, topic: str, text: str) -> None:
        """See `Kit.signal`."""
        self._store.signal(topic, text)

    def on_signal(self, topic: str, function: Callable[[str], None]) -> None:
        """See `Kit.on_signal`."""
        self.listeners[topic] = function

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """See `Kit.every`."""
        self.timers += 1
        gevent.spawn(self._repeat, seconds, function)

    def _repeat(self, seconds: float, function: Callable[[], None]) -> None:
        while True:
            gevent.sleep(seconds)
            try:
                function()
            except Exception:
                self.log.exception("a plugin's timer failed")

    def queue(self, name: str, send: Callable[[list[Any]], None], **parameters: Any) -> BatchQueue:
        """See `Kit.queue`."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = BatchQueue(name, send, self._count_loss, **parameters)
        elif queue.send != send:
            queue.send = send
            queue.adjust(**parameters)
        return queue

    def _count_loss(self, queue: str, count: int) -> None:
        self._losses(queue.strip("[]")).add(count)

    def flush(self, seconds: float) -> None:
        """Let queues and shared counters send what they hold, for at most so many seconds, when the worker leaves."""
        queues = list(self._queues.values())
        jobs = [queue.flush for queue in queues]
        if self._sharing is not None:
            jobs.append(self._sharing.flush)
        with gevent.Timeout(seconds, False):
            gevent.joinall([gevent.spawn(job) for job in jobs])
        for queue in queues:
            if lost := queue.unsent:
                self._count_loss(queue.label or queue.name, lost)
                self.log.error("queue %s: %d entries could not be sent before the end and were lost", queue.name, lost)

    def close(self) -> None:
        """Release what is shared with other nodes."""
        if self._sharing is not None:
            self._sharing.close()

    def offload(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """See `Kit.offload`."""
        return offload(function, *args)
