"""What the Admin API needs to know and do about the node it runs on, and a node without a data plane."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from kong_gevent import KONG_VERSION
from kong_gevent.balancer.health import UpstreamHealth
from kong_gevent.conf.settings import Settings
from kong_gevent.db import Store, dryrun
from kong_gevent.http.imagined import ImaginedRequest


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin that this node can run. `schema` is what describes its configuration to the store."""

    version: str = KONG_VERSION
    priority: int = 0
    schema: Any = None


class NodeFacade(Protocol):
    """One gateway node, as the Admin API sees it. Every method may be called from any worker."""

    @property
    def settings(self) -> Settings:
        """The node's settings."""

    @property
    def store(self) -> Store:
        """The open store."""

    @property
    def node_id(self) -> str:
        """UUID of the node, stable over restarts."""

    @property
    def hostname(self) -> str:
        """Name of the machine."""

    @property
    def plugins(self) -> Mapping[str, PluginInfo]:
        """Plugins that are enabled by the settings, by name."""

    @property
    def master_pid(self) -> int:
        """Process id of the arbiter."""

    @property
    def log_level(self) -> str:
        """Level in force, `debug` … `emerg`."""

    def set_log_level(self, level: str, timeout: float) -> None:
        """Change the level in all workers; back to the configured one after `timeout` seconds (0: never)."""

    def set_cluster_log_level(self, level: str, timeout: float) -> None:
        """The same on all nodes that share the datastore."""

    def published(self, many: bool = False) -> None:
        """Called after each successful write; returns when every worker of the node serves the new configuration.

        `many`: the write was large, so that taking it over takes time.
        """

    def statistics(self) -> Mapping[str, int]:
        """Node-wide counters: `connections_active`, `_reading`, `_writing`, `_waiting`, `_accepted`, `_handled`, `total_requests`; `clients_*`: those cut off."""  # noqa: E501

    def workers(self) -> Sequence[tuple[int, int]]:
        """Process id and resident memory (octets) of each worker."""

    def shared_memory(self) -> Mapping[str, tuple[int, int]]:
        """Shared segments by name: capacity and use, in octets."""

    def timers(self) -> Mapping[str, int]:
        """Timers of this worker: `running`, `pending`."""

    def dns(self) -> Mapping[str, Any]:
        """What this worker knows of names, and how often it asked."""

    def ready(self) -> tuple[bool, str | None]:
        """Whether the node can serve, else why not; with True, what an operator should know."""

    def set_draining(self) -> None:
        """Report "not ready" from now on, so that load balancers turn away."""

    def lookup(self, entity: str, field: str, value: str) -> dict[str, Any] | None:
        """The entity that holds a unique value, from this worker's memory if it can be.

        Changes by any node are noticed as those of other entities are. Raises `StoreUnavailable`.
        """

    def cache_get(self, key: str) -> tuple[bool, Any]:
        """Whether the cache holds a key, and its value."""

    def upstream_health(self, upstream: Mapping[str, Any]) -> UpstreamHealth | None:
        """What the balancer knows about an upstream; None when it has no data (and checks no health)."""

    def set_target_health(
        self, upstream: Mapping[str, Any], target: Mapping[str, Any], address: str | None, healthy: bool
    ) -> str | None:
        """Set the health of a target, or of one of its addresses (`ip:port`), on all nodes; why not, if refused."""

    def cache_delete(self, key: str | None) -> None:
        """Drop one key, or all with `None`, in every worker."""

    def explain(
        self, request: ImaginedRequest, consumer: dict[str, Any] | None, credential: dict[str, Any] | None, near: int
    ) -> dict[str, Any] | None:
        """What would become of a request; None when this node serves none.

        `consumer`, `credential` (with the entity's name as `kind`): who is assumed to ask; `near`: how many routes that
        do not win are told.
        """

    def trace(self, filters: dict[str, Any]) -> Callable[[Any, bytes], None] | None:
        """What serves a live trace: called with an upgraded connection's stream and the bytes that have come already.

        `filters`: `route`, `service`, `consumer`, `path`, `status`, `sample`, `limit`. None when this node serves no
        requests.
        """


SERVER_COUNTERS = (
    "connections_active",
    "connections_reading",
    "connections_writing",
    "connections_waiting",
    "connections_accepted",
    "connections_handled",
    "total_requests",
)


class LocalNode:
    """A node of one process without a data plane: for tests, and for tools that want the Admin API in process.

    `publications` counts the calls of `published()`; `cache` is a plain dictionary.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        plugins: Mapping[str, PluginInfo] | None = None,
        node_id: str | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.plugins: Mapping[str, PluginInfo] = plugins or {}
        self.node_id = node_id or str(uuid4())
        self.hostname = socket.gethostname()
        self.master_pid = os.getpid()
        self.log_level: str = settings.get("log_level") or "notice"
        self.level_timeout: float | None = None
        self.publications = 0
        self.cache: dict[str, Any] = {}
        self.counters: dict[str, int] = dict.fromkeys(SERVER_COUNTERS, 0)
        self.draining = False
        self.unready: str | None = None
        self.health: dict[str, UpstreamHealth] = {}
        self.health_calls: list[tuple[str, str, str | None, bool]] = []
        self.health_refusal: str | None = None
        self.explainer: Any = None

    def set_log_level(self, level: str, timeout: float) -> None:
        """Remember the level."""
        self.log_level, self.level_timeout = level, timeout

    def set_cluster_log_level(self, level: str, timeout: float) -> None:
        """This node is the cluster."""
        self.set_log_level(level, timeout)

    def published(self, many: bool = False) -> None:
        """Count the write, unless it was only tried."""
        if not dryrun.active():
            self.publications += 1

    def statistics(self) -> Mapping[str, int]:
        """The counters, all zero unless a test set them."""
        return self.counters

    def workers(self) -> Sequence[tuple[int, int]]:
        """This process, with its resident memory where the system tells it."""
        return [(os.getpid(), resident_memory())]

    def shared_memory(self) -> Mapping[str, tuple[int, int]]:
        """None."""
        return {}

    def timers(self) -> Mapping[str, int]:
        """None."""
        return {"running": 0, "pending": 0}

    def dns(self) -> Mapping[str, Any]:
        """Nothing."""
        return {"services": {}, "addresses": {}}

    def ready(self) -> tuple[bool, str | None]:
        """Ready unless draining or told otherwise."""
        reason = "draining" if self.draining else self.unready
        return reason is None, reason

    def set_draining(self) -> None:
        """Report "draining" from now on."""
        self.draining = True

    def upstream_health(self, upstream: Mapping[str, Any]) -> UpstreamHealth | None:
        """What a test put there."""
        return self.health.get(upstream["id"])

    def set_target_health(
        self, upstream: Mapping[str, Any], target: Mapping[str, Any], address: str | None, healthy: bool
    ) -> str | None:
        """Remember the call."""
        self.health_calls.append((upstream["id"], target["id"], address, healthy))
        return self.health_refusal

    def lookup(self, entity: str, field: str, value: str) -> dict[str, Any] | None:
        """Ask the store."""
        return self.store.dao(entity).select_by(field, value)

    def cache_get(self, key: str) -> tuple[bool, Any]:
        """Look into the dictionary."""
        return key in self.cache, self.cache.get(key)

    def cache_delete(self, key: str | None) -> None:
        """Forget one key or all."""
        if key is None:
            self.cache.clear()
        else:
            self.cache.pop(key, None)

    def explain(
        self, request: ImaginedRequest, consumer: dict[str, Any] | None, credential: dict[str, Any] | None, near: int
    ) -> dict[str, Any] | None:
        """Ask the explainer of a test's data plane, if there is one."""
        return self.explainer.explain(request, consumer, credential, near) if self.explainer is not None else None

    def trace(self, filters: dict[str, Any]) -> Callable[[Any, bytes], None] | None:
        """There are no requests here."""
        return None


def resident_memory(pid: int | None = None) -> int:
    """Resident set of a process in octets; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid or os.getpid()}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
