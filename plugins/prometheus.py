"""prometheus: counts requests, latencies and traffic, and shows them at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kong_gevent.pdk import AdminCall, AdminReply, Conf, Config, Context, Endpoint, Kit, Plugin, fields

WORKSPACE = "default"
GATEWAY_BOUNDS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
UPSTREAM_BOUNDS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
MAX_KNOWN = 20_000
"""Combinations of route, status and consumer whose cells a worker keeps at hand."""
SUBSYSTEM = "http"
HEALTH_STATES = ("healthchecks_off", "healthy", "unhealthy", "dns_error")
CONNECTION_STATES = ("accepted", "active", "handled", "reading", "waiting", "writing")


def _switch(description: str) -> fields.Boolean:
    return fields.Boolean(required=False, load_default=False, metadata={"description": description})


class PrometheusConfig(Config):
    """Settings of prometheus."""

    per_consumer = _switch("Whether requests and traffic are counted for each consumer.")
    status_code_metrics = _switch("Whether requests are counted by status.")
    ai_metrics = _switch("Whether calls of language models are counted.")
    latency_metrics = _switch("Whether latencies are counted.")
    bandwidth_metrics = _switch("Whether the octets of requests and answers are counted.")
    upstream_health_metrics = _switch("Whether the health of upstreams' targets is shown.")


Observe = Callable[[float], None]


class Cells:
    """Where one kind of request is counted: places in `Metrics.numbers` and observers; None for what is not counted."""

    __slots__ = ("egress", "gateway", "ingress", "request", "requests", "upstream")

    def __init__(self) -> None:
        self.requests: int | None = None
        self.ingress: int | None = None
        self.egress: int | None = None
        self.gateway: Observe | None = None
        self.upstream: Observe | None = None
        self.request: Observe | None = None


class Prometheus(Plugin):
    """Counts in the `log` phase; numbers are exact over all workers of the node."""

    name = "prometheus"
    priority = 13
    config = PrometheusConfig
    protocols_allowed = "any"

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        counter, histogram = kit.metrics.counter, kit.metrics.histogram
        self._numbers = kit.metrics.numbers
        self.requests = counter(
            "kong_http_requests_total",
            "Requests by service, route, status, who answered, and consumer",
            *("service", "route", "code", "source", "workspace", "consumer"),
        )
        self.bandwidth = counter(
            "kong_bandwidth_bytes",
            "Octets received from and sent to clients",
            *("service", "route", "direction", "workspace", "consumer"),
        )
        place = ("service", "route", "workspace")
        self.gateway = histogram(
            "kong_kong_latency_ms", "Milliseconds that the gateway itself took", GATEWAY_BOUNDS, *place
        )
        self.upstream = histogram(
            "kong_upstream_latency_ms",
            "Milliseconds until the upstream answered",
            UPSTREAM_BOUNDS,
            *place,
        )
        self.request = histogram(
            "kong_request_latency_ms",
            "Milliseconds from the first octet of a request to the last one of its answer",
            UPSTREAM_BOUNDS,
            *place,
        )
        self._configured: set[Conf] = set()
        self._declare_gauges()
        self._declare_health()

    def configure(self, conf: Conf) -> None:
        """Nothing to do per request for a configuration that counts nothing."""
        self._configured.add(conf)
        conf.cells = {}
        conf.latencies = {}
        if not (conf.status_code_metrics or conf.latency_metrics or conf.bandwidth_metrics):
            conf.unused_phases = ("log",)

    def retire(self, conf: Conf) -> None:
        """Forget that there was this configuration."""
        self._configured.discard(conf)

    def log(self, ctx: Context, conf: Conf) -> None:
        """Count a request that matched a route."""
        route = ctx.route
        if route is None:
            return
        key = (route, ctx.status, ctx.source, ctx.consumer_id if conf.per_consumer else None)
        cells = conf.cells.get(key)
        if cells is None:
            cells = self._find(ctx, conf, key)
        numbers = self._numbers
        if cells.requests is not None:
            numbers[cells.requests] += 1
        if cells.request is not None:
            request, gateway, upstream, _ = ctx.latencies()
            cells.request(request)
            cells.gateway(gateway if upstream >= 0 else request)
            if upstream >= 0:
                cells.upstream(upstream)
        if cells.ingress is not None:
            numbers[cells.ingress] += ctx.request_size
            numbers[cells.egress] += ctx.response_size

    def _find(self, ctx: Context, conf: Conf, key: Any) -> Cells:
        """The cells of a request's kind."""
        service, route = ctx.matched_service, ctx.matched_route or {}
        service_name = (service["name"] or service["host"]) if service else ""
        route_name = route.get("name") or route.get("id") or ""
        consumer = ctx.consumer if conf.per_consumer else None
        consumer_name = (consumer["username"] or "") if consumer else ""
        place = (service_name, route_name)
        cells = Cells()
        if conf.status_code_metrics:
            source = "service" if ctx.source == "service" else "kong"
            cells.requests = self.requests(*place, str(ctx.status), source, WORKSPACE, consumer_name).at
        if conf.latency_metrics:
            cells.request, cells.gateway, cells.upstream = self._latencies(conf, place)
        if conf.bandwidth_metrics:
            cells.ingress = self.bandwidth(*place, "ingress", WORKSPACE, consumer_name).at
            cells.egress = self.bandwidth(*place, "egress", WORKSPACE, consumer_name).at
        if len(conf.cells) >= MAX_KNOWN:
            conf.cells.clear()
        conf.cells[key] = cells
        return cells

    def _latencies(self, conf: Conf, place: tuple[str, str]) -> tuple[Observe, Observe, Observe]:
        """The observers of a route, the same ones for all of its consumers."""
        known = conf.latencies.get(place)
        if known is None:
            if len(conf.latencies) >= MAX_KNOWN:
                conf.latencies.clear()
            known = conf.latencies[place] = tuple(
                histogram(*place, WORKSPACE).observe for histogram in (self.request, self.gateway, self.upstream)
            )
        return known  # type: ignore[no-any-return]

    # --- what is found out when somebody asks ------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """`/metrics` on the Admin API and the status listener."""
        answers = {"GET": {200: {"type": "string"}}}
        return [Endpoint("/metrics", {"GET": self.show}, ("admin", "status"), answers)]

    def show(self, call: AdminCall) -> AdminReply:
        """Everything in the text format; only what tells of the node when the plugin is switched on nowhere."""
        return AdminReply(self.kit.metrics.exposition(counted=bool(self._configured)))

    def _declare_gauges(self) -> None:
        gauge = self.kit.metrics.gauge
        node = self.kit.node_id

        def statistics() -> Iterable[tuple[Sequence[str], float]]:
            known = self.kit.node.statistics()
            for state in CONNECTION_STATES:
                yield (node, SUBSYSTEM, state), known.get(f"connections_{state}", 0)
            yield (node, SUBSYSTEM, "total"), known.get("total_requests", 0)

        gauge(
            "kong_nginx_connections_total",
            "Connections of clients by state",
            ("node_id", "subsystem", "state"),
            statistics,
        )
        gauge(
            "kong_nginx_requests_total",
            "Requests of clients",
            ("node_id", "subsystem"),
            lambda: [((node, SUBSYSTEM), self.kit.node.statistics().get("total_requests", 0))],
        )
        gauge(
            "kong_clients_cut_off",
            "Connections that were ended because the client was too slow, one too many, or malformed",
            ("node_id", "reason"),
            lambda: [
                ((node, name.removeprefix("clients_")), number)
                for name, number in self.kit.node.statistics().items()
                if name.startswith("clients_")
            ],
        )
        gauge(
            "kong_nginx_timers",
            "Background work of the worker that answers",
            ("state",),
            lambda: [((state,), number) for state, number in self.kit.node.timers().items()],
        )
        gauge(
            "kong_datastore_reachable",
            "1 when the datastore answers, else 0",
            (),
            lambda: [((), int(self.kit.node.store_reachable()))],
        )
        gauge(
            "kong_node_info",
            "Identity and version of the node",
            ("node_id", "version"),
            lambda: [((node, self.version), 1)],
        )
        self._declare_memory(node)
        self.kit.metrics.count_errors("kong_nginx_metric_errors_total", "Metrics that there was no room for")

    def _declare_health(self) -> None:
        def health() -> Iterable[tuple[Sequence[str], float]]:
            if any(conf.upstream_health_metrics for conf in self._configured):
                for upstream, target, address, found in self.kit.node.target_health():
                    for state in HEALTH_STATES:
                        yield (upstream, target, address, state, SUBSYSTEM), int(state == found.lower())

        self.kit.metrics.gauge(
            "kong_upstream_target_health",
            "Health of targets of upstreams: 1 for the state that they are in, else 0",
            ("upstream", "target", "address", "state", "subsystem"),
            health,
        )

    def _declare_memory(self, node: str) -> None:
        gauge = self.kit.metrics.gauge
        labels = ("node_id", "shared_dict", "kong_subsystem")

        def shared() -> Iterable[tuple[str, tuple[int, int]]]:
            return self.kit.node.shared_memory().items()

        gauge(
            "kong_memory_lua_shared_dict_bytes",
            "Octets used of the memory that workers share",
            labels,
            lambda: [((node, name, SUBSYSTEM), used) for name, (_, used) in shared()],
        )
        gauge(
            "kong_memory_lua_shared_dict_total_bytes",
            "Octets of the memory that workers share",
            labels,
            lambda: [((node, name, SUBSYSTEM), capacity) for name, (capacity, _) in shared()],
        )
        gauge(
            "kong_memory_workers_lua_vms_bytes",
            "Resident memory of a worker in octets",
            ("node_id", "pid", "kong_subsystem"),
            lambda: [((node, str(pid), SUBSYSTEM), resident) for pid, resident in self.kit.node.workers()],
        )
