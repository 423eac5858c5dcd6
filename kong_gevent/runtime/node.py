"""One worker's view of its node: what the Admin API asks for, and how a write reaches all workers."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import gevent

from kong_gevent.balancer.health import UpstreamHealth
from kong_gevent.db import dryrun
from kong_gevent.observe.errorlog import LEVELS, level_name
from kong_gevent.runtime.caches import own_key
from kong_gevent.runtime.entities import found as found_row
from kong_gevent.runtime.explain import Explainer
from kong_gevent.runtime.health import Health
from kong_gevent.runtime.keeper import Keeper
from kong_gevent.runtime.reasons import NOTHING_YET
from kong_gevent.runtime.shared import (
    ACCEPTED,
    ACTIVE,
    BAD_PREAMBLES,
    LOOKED,
    PID,
    READING,
    REFUSED,
    REQUESTS,
    SERVING,
    SLOW_BODIES,
    SLOW_HANDSHAKES,
    SLOW_HEADS,
    SLOW_READERS,
    WAITING,
    WRITING,
    Lane,
    SharedState,
)
from kong_gevent.runtime.trace.tracing import Tracing

if TYPE_CHECKING:
    from kong_gevent.http.imagined import ImaginedRequest
    from kong_gevent.pdk.plugin import Plugin
    from kong_gevent.runtime.caches import LookupCache
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.kit import WorkerKit
    from kong_gevent.runtime.sync import Synchronizer

log = logging.getLogger("kong_gevent.node")
FLUSH_SECONDS = 2.0
LOOK_SECONDS = 60.0
"""How long a large change may take until all workers have it; then requests wait for it like for any other."""
LOOK_PAUSE = 0.02
LOG_LEVEL = "log-level"
"""Topic of the signal that changes the level on all nodes: its text is the level and the seconds."""


class PluginFacts:
    """What the Admin API tells about a plugin, and what the store validates its configurations with."""

    __slots__ = ("priority", "schema", "version")

    def __init__(self, plugin: type[Plugin]) -> None:
        self.version = plugin.version
        self.priority = plugin.priority
        self.schema = plugin


class Node:
    """This worker and its siblings; implements the facade that the Admin API is given."""

    def __init__(
        self,
        gateway: Gateway,
        store: Any,
        cache: LookupCache,
        kit: WorkerKit,
        sync: Synchronizer,
        shared: SharedState,
        lane: Lane,
        plugins: Mapping[str, type[Plugin]],
        node_id: str,
    ) -> None:
        self.gateway = gateway
        self.settings = gateway.settings
        self.store = store
        self.cache = cache
        self.kit = kit
        self.sync = sync
        self.shared = shared
        self.lane = lane
        self.node_id = node_id
        self.hostname = socket.gethostname()
        self.plugins = {name: PluginFacts(plugin) for name, plugin in plugins.items()}
        self.writers: list[Any] = []
        self.access_logs: dict[str, Any] = {}
        self.cache_epoch = 0
        self.looked = shared.looks
        lane[LOOKED] = self.looked
        self.on_leave: list[Callable[[], None]] = []
        """What is done before the store is released."""
        self.prepared = False
        """Whether caches are warm, as far as that happens before the first request."""
        self.keeper = Keeper(self.settings, store, gateway.plan, sync, self.is_first)
        self._level_timer: Any = None
        sync.listeners[LOG_LEVEL] = self._hear_log_level
        self.health = Health(gateway, sync, store, self.is_first)
        self.tracing = Tracing(gateway, shared.traces, lane.index, node_id)
        self.explainer = Explainer(gateway, self.health.of)

    # --- for the Admin API -------------------------------------------------------------------------------------------

    @property
    def master_pid(self) -> int:
        """Process id of the arbiter."""
        return self.shared.master_pid

    @property
    def log_level(self) -> str:
        """The level in force."""
        return level_name(self.shared.log_level) if self.shared.log_level else str(self.settings.log_level)

    def set_log_level(self, level: str, timeout: float) -> None:
        """Change the level in all workers; back to the configured one after `timeout` s (0: never)."""
        self.shared.log_level = LEVELS[level]
        self.shared.ring()
        if self._level_timer is not None:
            self._level_timer.kill(block=False)
            self._level_timer = None
        if timeout > 0:
            self._level_timer = gevent.spawn_later(timeout, self._reset_log_level)

    def set_cluster_log_level(self, level: str, timeout: float) -> None:
        """The same on all nodes of the datastore."""
        self.set_log_level(level, timeout)
        self.store.signal(LOG_LEVEL, f"{level} {timeout}")

    def _hear_log_level(self, text: str) -> None:
        level, timeout = text.split()
        self.set_log_level(level, float(timeout))

    def _reset_log_level(self) -> None:
        self.shared.log_level = 0
        self.shared.ring()

    def apply_log_level(self) -> None:
        """Use the level that the node has agreed on."""
        logging.getLogger("kong_gevent").setLevel(self.shared.log_level or LEVELS[self.settings.log_level])

    def published(self, many: bool = False) -> None:
        """A write has been committed: no worker of this node answers with the configuration before it any more.

        `many`: it was large, so that all workers take it over beside their requests before it counts.
        """
        if dryrun.active():
            return
        if many:
            number = self.shared.ask_to_look()
            until = monotonic() + LOOK_SECONDS
            while not self.shared.looked(number) and monotonic() < until:
                gevent.sleep(LOOK_PAUSE)
        self.shared.published()
        self.sync.catch_up()

    def look(self) -> None:
        """Look at the store if all workers were asked to, and have not been told more than once for the same."""
        asked = self.shared.looks
        if asked == self.looked:
            return
        self.looked = asked
        self.sync.poll()
        self.sync.poll()  # the first may have begun before that which is to be found
        self.lane[LOOKED] = max(asked, self.lane[LOOKED])

    def statistics(self) -> Mapping[str, int]:
        """Counters over all workers, as `/status` shows them."""
        total = self.shared.total
        return {
            "connections_active": total(ACTIVE),
            "connections_reading": total(READING),
            "connections_writing": total(WRITING),
            "connections_waiting": total(WAITING),
            "connections_accepted": total(ACCEPTED),
            "connections_handled": total(ACCEPTED),
            "total_requests": total(REQUESTS),
            "clients_slow_head": total(SLOW_HEADS),
            "clients_slow_body": total(SLOW_BODIES),
            "clients_slow_reader": total(SLOW_READERS),
            "clients_refused": total(REFUSED),
            "clients_bad_preamble": total(BAD_PREAMBLES),
            "clients_slow_handshake": total(SLOW_HANDSHAKES),
        }

    def workers(self) -> Sequence[tuple[int, int]]:
        """Process id and resident memory (bytes) of each worker, sorted by id."""
        return [(pid, resident_memory(pid)) for pid in self.shared.workers()]

    def shared_memory(self) -> Mapping[str, tuple[int, int]]:
        """Shared segments by name: capacity and use in bytes."""
        return {"kong_gevent": self.shared.memory(), "kong_db_cache": self.shared.cache.usage()}

    def target_health(self) -> Iterable[tuple[str, str, str, str]]:
        """See `kong_gevent.pdk.kit.NodeView.target_health`."""
        return self.health.states()

    def store_reachable(self) -> bool:
        """Whether the datastore answers now."""
        return bool(self.store.reachable())

    def timers(self) -> Mapping[str, int]:
        """Background greenlets of this worker."""
        return {"running": 0, "pending": self.kit.timers}

    def dns(self) -> Mapping[str, Any]:
        """What this worker knows of names."""
        return self.gateway.resolver.statistics()

    @property
    def loaded(self) -> bool:
        """Whether there is a configuration to serve, and everything is ready to do so."""
        return self.sync.loaded and self.prepared

    def ready(self) -> tuple[bool, str | None]:
        """Whether a load balancer should send requests here, else why not; also what is not as it should be.

        A node that has lost its store is not ready, as Kong has it: others may still have theirs. One that was started
        without its store is there to serve what it has.
        """
        if self.gateway.draining or self.shared.draining:
            return False, "draining"
        if not self.sync.loaded:
            return False, f"no configuration available: {self.sync.failure or 'loading it from the datastore'}"
        if self.settings.database == "off" and self.gateway.plan.empty:
            return False, NOTHING_YET
        if not self.shared.total(SERVING):
            return False, "no worker accepts requests yet"
        if self.sync.failure is not None and self.shared.store_reached:
            return False, f"failed to connect to database: {self.sync.failure}"
        if not self.sync.reached:
            return True, "ready, with the last good configuration from disk: the datastore does not answer"
        return True, None

    def set_draining(self) -> None:
        """Fail `/status/ready` from now on, on all workers."""
        self.shared.draining = True

    def lookup(self, entity: str, field: str, value: str) -> dict[str, Any] | None:
        """The entity that holds a unique value, from this worker's memory if it can be. Raises `StoreUnavailable`."""
        found: dict[str, Any] | None = self.cache.get(
            f"{entity}:{field}:{value}", lambda: found_row(self.store.lookups[entity].select_by, field, value)
        )
        return found

    def cache_get(self, key: str) -> tuple[bool, Any]:
        """Whether this worker remembers a look-up under Kong's cache key, and what it said."""
        return self.cache.peek(own_key(self.store.catalogue, key))

    def cache_delete(self, key: str | None) -> None:
        """Forget one key, or all, in every worker."""
        self.shared.forget_caches()
        self.cache.clear()

    def explain(
        self, request: ImaginedRequest, consumer: dict[str, Any] | None, credential: dict[str, Any] | None, near: int
    ) -> dict[str, Any]:
        """What would become of a request by the latest configuration; see `runtime.explain`."""
        self.sync.catch_up()
        return self.explainer.explain(request, consumer, credential, near)

    def trace(self, filters: dict[str, Any]) -> Callable[[Any, bytes], None]:
        """What serves a live trace on an upgraded connection: see `runtime.trace.session`."""
        from kong_gevent.runtime.trace.session import TraceSession

        return TraceSession(self, filters)

    def upstream_health(self, upstream: Mapping[str, Any]) -> UpstreamHealth | None:
        """What this node knows of an upstream's targets; None when the upstream is not there yet."""
        return self.health.of(upstream["id"])

    def set_target_health(
        self, upstream: Mapping[str, Any], target: Mapping[str, Any], address: str | None, healthy: bool
    ) -> str | None:
        """Set the health of a target's addresses, or of one, on all nodes; why not, if refused."""
        return self.health.put_everywhere(upstream, target["target"], address, healthy)

    # --- life --------------------------------------------------------------------------------------------------------

    def others_serve(self) -> bool:
        """Whether another worker accepts requests, so that this one may stop listening at once."""
        return any(lane[SERVING] and lane[PID] > 0 and lane.index != self.lane.index for lane in self.shared.lanes())

    def is_first(self) -> bool:
        """Whether no worker before this one serves: what has to be done once for the node is done by the first."""
        for lane in self.shared.lanes():
            if lane.index == self.lane.index:
                return True
            if lane[SERVING] and lane[PID] > 0:
                return False
        return True

    def serves_first(self) -> bool:
        """Whether this is the first of the workers that serve: one that leaves is none of them."""
        return bool(self.lane[SERVING]) and self.is_first()

    def reopen_logs(self) -> None:
        """Use fresh log files after the old ones were moved away."""
        for writer in self.writers:
            writer.reopen()

    def shut_down(self) -> None:
        """Send what plugins still hold, write the logs, release the store."""
        self.kit.flush(FLUSH_SECONDS)
        self.gateway.plan.table.close()
        for leave in self.on_leave:
            leave()
        self.keeper.close()
        for writer in self.writers:
            writer.flush()
        self.gateway.pool.close()
        self.store.close()


def resident_memory(pid: int) -> int:
    """Resident set of a process in bytes; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def node_id(setting: str | None, prefix: str) -> str:
    """The node's UUID: the setting, else the one kept in the prefix, made at the first start.

    A file without one, as a full disk leaves it, is filled later.
    """
    if setting:
        return setting
    file = Path(prefix, "kong.id")
    with suppress(OSError, ValueError):
        return str(UUID(file.read_text().strip()))
    made = str(uuid4())
    try:
        with file.open("a+") as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)  # workers that start at the same time agree
            kept.seek(0)
            with suppress(ValueError):
                return str(UUID(kept.read().strip()))
            kept.truncate(0)
            kept.write(made + "\n")
    except OSError as error:
        log.warning("the node's id cannot be kept in %s: %s", file, error)
    return made
