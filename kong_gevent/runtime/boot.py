"""Putting one worker together: plugins, store, plan, caches, logs, listeners and background work."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from kong_gevent.db import open_store
from kong_gevent.dns.hub import install
from kong_gevent.observe import errorlog
from kong_gevent.observe.accesslog import AccessLog, LineWriter
from kong_gevent.pdk import Context, Plugin
from kong_gevent.pdk.endpoints import AdminCall
from kong_gevent.pdk.loader import load_plugins
from kong_gevent.runtime.balancing import follow_names
from kong_gevent.runtime.caches import CAPACITY, LookupCache
from kong_gevent.runtime.connection import Connection
from kong_gevent.runtime.contexts import ListenerContexts
from kong_gevent.runtime.gateway import Gateway
from kong_gevent.runtime.kit import WorkerKit
from kong_gevent.runtime.listener import Listener
from kong_gevent.runtime.loading import load_and_follow
from kong_gevent.runtime.metrics import WorkerMetrics
from kong_gevent.runtime.node import Node, node_id
from kong_gevent.runtime.pipeline import Pipeline
from kong_gevent.runtime.probes import Prober
from kong_gevent.runtime.secure import silence_server_names
from kong_gevent.runtime.shared import PID, Lane, SharedState
from kong_gevent.runtime.sharing import Sharing
from kong_gevent.runtime.sync import Synchronizer
from kong_gevent.runtime.wsgi import WsgiRole

if TYPE_CHECKING:
    from kong_gevent.conf import Settings

log = logging.getLogger("kong_gevent")
NAMES_SECONDS = 1.0
GC_THRESHOLDS = (20_000, 20, 50)
"""Rare full collections: requests leave no reference cycles behind."""


def build_node(settings: Settings, shared: SharedState, lane: Lane, listeners: ListenerContexts | None = None) -> Node:
    """A node's parts for this process; nothing is read from the store yet. Raises `ConfigurationError`."""
    shared.lock.forked()
    shared.counts.forked()
    shared.cache.forked()
    shared.health.forked()
    shared.traces.forked()
    classes = load_plugins(settings.plugins)
    store: Any = open_store(settings, classes)
    identity = node_id(settings.node_id, settings.prefix)
    store.origin = shared.counts.origin  # not the node's id: two process groups share that during a binary upgrade
    cache = LookupCache(
        settings.get("db_cache_ttl"),
        settings.get("db_cache_neg_ttl"),
        settings.get("mem_cache_size", CAPACITY),
        settings.get("db_resurrect_ttl", 0),
    )
    sharing = Sharing(
        shared.counts,
        store,
        float(settings.db_update_frequency),
        lambda host: gateway.resolver.addresses(host),
        lambda verify: gateway.contexts.outgoing(verify),
    )
    metrics = WorkerMetrics(shared.metrics, lane.index)
    kit = WorkerKit(
        identity,
        store,
        cache,
        shared.counters,
        metrics,
        sharing,
        runs_programs=settings.get("untrusted_lua") != "off",
        classic_answers=settings.classic_answers,
    )
    plugins: dict[str, Plugin] = {name: plugin(kit) for name, plugin in classes.items()}
    gateway = Gateway(settings, plugins, shared.health, listeners)
    install(gateway.resolver)
    sync = Synchronizer(store, gateway.plan, cache, shared, settings.get("db_update_propagation", 0))
    sync.on_reached = shared.store_answers
    sync.listeners = kit.listeners
    sync.learn_vaults = lambda plan: gateway.learn_vaults(store.dao("vaults").each(), plan)
    node = Node(gateway, store, cache, kit, sync, shared, lane, classes, identity)
    kit.node = node
    kit.node_cache = shared.cache
    kit.publish = node.published
    for plugin in plugins.values():
        plugin.init_worker()
    return node


def start_background(node: Node) -> None:
    """Load, then follow the store's events; listen to the bell that siblings ring."""
    node.sync.together = True
    gevent.spawn(load_and_follow, node)
    gevent.spawn(Prober(node.gateway, node.serves_first).run)
    gevent.spawn(_follow_names, node.gateway)
    bell = node.shared.bell(node.lane)
    watcher = get_hub().loop.io(bell, 1)
    watcher.start(_on_bell, node, bell)
    node.tracing.refresh()
    node.bell_watcher = watcher  # type: ignore[attr-defined]


def _follow_names(gateway: Gateway) -> None:
    """Renew what is known of the names of targets; never returns."""
    while True:
        gevent.sleep(NAMES_SECONDS)
        try:
            follow_names(gateway.plan.balancers.values(), gateway.resolver)
        except Exception:
            log.exception("the names of targets could not be renewed this time")


def _on_bell(node: Node, bell: int) -> None:
    import os

    try:
        os.eventfd_read(bell)
    except BlockingIOError:
        return
    gevent.spawn(_answer_bell, node)


def _answer_bell(node: Node) -> None:
    node.tracing.refresh()
    node.apply_log_level()
    if node.shared.cache_epoch != node.cache_epoch:
        node.cache_epoch = node.shared.cache_epoch
        node.cache.clear()
    if node.sync.loaded:
        node.look()
        node.sync.catch_up()


def set_up_logs(node: Node) -> None:
    """Open the logs of this process; they are written in the background."""
    settings = node.settings
    writers: dict[str, LineWriter] = {}

    def writer(path: str) -> LineWriter:
        if path not in writers:
            writers[path] = LineWriter(path)
            writers[path].start()
        return writers[path]

    errorlog.set_up(settings.log_level, writer(settings.error_log("proxy")))
    node.apply_log_level()
    node.access_logs = {}
    for part in ("proxy", "admin", "status"):
        chosen = settings.access_log(part)
        if chosen.path:
            node.access_logs[part] = AccessLog(writer(chosen.path), chosen.format)
    node.gateway.access_log = node.access_logs.get("proxy")
    node.writers = list(writers.values())


class ProxyRole:
    """Serves the requests of a proxy listener."""

    def __init__(self, node: Node) -> None:
        self._gateway = node.gateway
        self._use(node.gateway.pipeline)
        node.gateway.on_pipeline.append(self._use)
        self._sync = node.sync
        self._generation = node.shared.generation_word
        self._gateway.catch_up = self.catch_up

    def catch_up(self) -> None:
        """Have the node's latest configuration."""
        if self._generation[0] != self._sync.generation:
            self._sync.catch_up()

    def _use(self, pipeline: Pipeline) -> None:
        self._handle = pipeline.handle

    def serve(self, connection: Connection, head: Any, began: float) -> None:
        """Serve one request with the node's latest configuration."""
        if self._generation[0] != self._sync.generation:
            self._sync.catch_up()
        gateway = self._gateway
        gateway.handled += 1
        self._handle(Context(gateway, connection, connection, head, began))


class Roles:
    """Which role the connections of an address play; applications are made when first needed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: dict[str, Any] = {}
        self._ports: list[tuple[str, Any]] = []
        for role, listeners in (
            ("proxy", node.settings.proxy_listeners),
            ("admin", node.settings.admin_listeners),
            ("classic", node.settings.classic_admin_listeners),
            ("status", node.settings.status_listeners),
        ):
            self._ports += [(role, listener) for listener in listeners]

    def listener_of(self, sock: Any) -> Listener:
        """The listener for a bound socket. Raises LookupError for an address that no setting names."""
        name = sock.getsockname()
        host, port = name[0], name[1]
        exact = [entry for entry in self._ports if (entry[1].host, entry[1].port) == (host, port)]
        found = exact or [entry for entry in self._ports if entry[1].port == port]
        if not found:
            raise LookupError(f"no *_listen setting names {host}:{port}")
        role, wanted = found[0]
        gateway = self._node.gateway
        context = gateway.certificates.listener_context(role) if wanted.ssl else None
        return Listener(gateway, role, host, port, self._role(role), context, wanted.proxy_protocol)

    def _role(self, role: str) -> Any:
        if role not in self._made:
            self._made[role] = self._make(role)
        return self._made[role]

    def _make(self, role: str) -> Any:
        node = self._node
        if role == "proxy":
            return ProxyRole(node).serve
        from kong_gevent.admin import contributed, create_app, create_classic_app, create_status_app

        if role == "classic":
            limit = node.settings.admin_client_max_body_size
            return WsgiRole(node.gateway, create_classic_app(node), limit, node.access_logs.get("admin"))  # type: ignore[arg-type]
        endpoints = [endpoint for plugin in node.gateway.plugins.values() for endpoint in plugin.endpoints()]
        extra = [contributed.blueprint(endpoints, role, AdminCall)]
        if role == "admin":
            application: Any = create_app(node, extra)  # type: ignore[arg-type]
            if application.recorder.log is not None:
                node.on_leave.append(application.recorder.log.flush)
            limit = node.settings.admin_client_max_body_size
        else:
            application = create_status_app(node, extra)  # type: ignore[arg-type]
            limit = 1 << 20
        return WsgiRole(node.gateway, application, limit, node.access_logs.get(role))


def boot_worker(worker: Any) -> Node:
    """Everything a freshly forked worker needs; called once monkey patching is done."""
    from kong_gevent.runtime.master import master

    gc.set_threshold(*GC_THRESHOLDS)
    settings, shared, lane = master().settings, master().shared, worker.lane
    lane[PID] = worker.pid
    silence_server_names()
    node = build_node(settings, shared, lane, master().listener_contexts)
    set_up_logs(node)
    if node.is_first():
        for warning in settings.warnings:
            log.warning("%s", warning)
    roles = Roles(node)
    node.listener_of = roles.listener_of  # type: ignore[attr-defined]
    start_background(node)
    return node
