"""One worker's gateway: the plan and everything that requests need at hand, built from the settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import format_date_time

from kong_gevent.conf.references import variables
from kong_gevent.dns import Resolver
from kong_gevent.http.answers import AnswerFields, AnswerStyle
from kong_gevent.http.heads import AnswerReader, RequestReader
from kong_gevent.pdk import Context, Plugin
from kong_gevent.pdk.record import Recorder
from kong_gevent.proxy.deadlines import SWEEP_SECONDS, Pace, Streams
from kong_gevent.proxy.pool import Pool
from kong_gevent.runtime.contexts import ListenerContexts, ServerCertificates
from kong_gevent.runtime.forwarding import Forwarding
from kong_gevent.runtime.health_table import HealthTable
from kong_gevent.runtime.pipeline import Pipeline
from kong_gevent.runtime.plan import Plan
from kong_gevent.runtime.reasons import REASONS
from kong_gevent.runtime.tls import Contexts
from kong_gevent.vaults.secrets import Secrets

if TYPE_CHECKING:
    from kong_gevent.conf import Settings
    from kong_gevent.observe.accesslog import AccessLog

log = logging.getLogger("kong_gevent")
PRODUCT = "kong/3.9.1"
ID_BATCH = 256


class Cut:
    """How many clients were cut off, for what."""

    __slots__ = ("bad_preambles", "refused", "slow_bodies", "slow_handshakes", "slow_heads", "slow_readers")

    def __init__(self) -> None:
        self.slow_heads = self.slow_bodies = self.slow_readers = self.slow_handshakes = 0
        self.refused = self.bad_preambles = 0


class Gateway:
    """Settings made ready for requests, the plan, the pools and readers; one per worker process."""

    def __init__(
        self,
        settings: Settings,
        plugins: Mapping[str, Plugin],
        health: HealthTable | None = None,
        listeners: ListenerContexts | None = None,
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.secrets = Secrets(variables())
        self._prepare_configuration(health, listeners)
        self._prepare_upstreams()
        self._take_limits()
        self.hosts: dict[bytes | None, tuple[str, int | None, bytes]] = {}
        self.port_map = settings.port_map
        self.forwarding = _forwarding(settings)
        self.requests = RequestReader(settings.request_line_limit, settings.client_header_limit)
        self.answers = AnswerReader(_answer_style(settings))
        self._prepare_lines(settings.enabled_headers)
        self.sends_id_upstream = "x-kong-request-id" in settings.enabled_headers_upstream
        self.access_log: AccessLog | None = None
        self.recorder = Recorder()
        self.draining = False
        self.tunnels = 0
        self.catch_up: Callable[[], None] = lambda: None
        """Takes over what has been written on this node so far; set by the role of the proxy."""
        self.admits: Callable[[Any], bool] = lambda connection: True
        """Whether there is room for a connection whose client another has named; set by a worker with limits."""
        self.cut = Cut()
        self.pipeline = Pipeline(self)
        self.on_pipeline: list[Callable[[Pipeline], None]] = []
        """Told when another pipeline takes over."""
        self.handled = 0
        self._ids: list[bytes] = []
        self._date = b""
        self._date_second = 0

    def _prepare_configuration(self, health: HealthTable | None, listeners: ListenerContexts | None) -> None:
        """The plan, still empty, and what shows and checks its certificates."""
        self.contexts = Contexts(self.settings)
        self.plan = Plan(self.plugins, self.contexts, self.secrets, health)
        self.contexts.follow(self.plan.certificates, self.plan.authorities)
        self.certificates = ServerCertificates(
            self.settings,
            self.plan.certificates,
            self.plan.server_names,
            listeners,
            asked=self.plan.asked,
            authorities=self.plan.authorities,
        )

    def _prepare_upstreams(self) -> None:
        """Names, connections, and how slow a peer may be."""
        settings, grace = self.settings, self.settings.client_rate_grace
        self.resolver = Resolver.of(settings)
        self.streams = Streams(Pace(settings.client_body_min_rate, grace), Pace(settings.client_read_min_rate, grace))
        self.pool = Pool(
            self.streams,
            settings.upstream_keepalive_pool_size,
            settings.upstream_keepalive_max_requests,
            settings.upstream_keepalive_idle_timeout,
        )
        self.contexts.on_drop = self.pool.forget

    def _take_limits(self) -> None:
        """What clients get: seconds, bytes and counts, and the form of error answers."""
        settings = self.settings
        self.header_timeout: float = settings.client_header_timeout
        self.body_timeout: float = settings.client_body_timeout
        self.send_timeout: float = settings.client_body_timeout
        self.keepalive_timeout: float = settings.keepalive_timeout + SWEEP_SECONDS  # never too early by `Streams.tick`
        self.keepalive_requests: int = settings.keepalive_requests
        self.max_pipelined: int = settings.client_max_pipelined
        self.body_buffer: int = settings.client_body_buffer_size
        self.body_limit: int = settings.client_max_body_size
        self.error_default_type: str = settings.error_default_type
        self.debug_header: bool = settings.allow_debug_header

    def learn_vaults(self, vaults: Iterable[Mapping[str, Any]], plan: Plan) -> None:
        """Take over the vault entities; what a plan has with secrets gets them anew when a vault may have changed."""
        if self.secrets.learn({vault["prefix"]: vault for vault in vaults}) or plan is not self.plan:
            plan.certificates.resolve_again()
            plan.table.configure_again()

    def use(self, pipeline: Pipeline) -> None:
        """Serve requests that come from now on with another pipeline."""
        self.pipeline = pipeline
        for told in self.on_pipeline:
            told(pipeline)

    def _prepare_lines(self, enabled: frozenset[str]) -> None:
        """The field lines that answers get, as formats with only the changing values left open."""
        self._server_line = f"Server: {PRODUCT}\r\n".encode() if "server" in enabled else b""
        self._sends_id = "x-kong-request-id" in enabled
        self.sends_response_latency = "x-kong-response-latency" in enabled
        self._upstream_latency = "x-kong-upstream-latency" in enabled
        self._proxy_latency = "x-kong-proxy-latency" in enabled
        self._both_latencies = self._upstream_latency and self._proxy_latency
        self._upstream_status = "x-kong-upstream-status" in enabled
        self._proxied_lines_simple = not self._upstream_status and not self.debug_header
        self.common_lines = self._proxied_lines_simple and self._both_latencies and self._sends_id

    def new_id(self) -> bytes:
        """A request id: 32 hexadecimal digits, random."""
        try:
            return self._ids.pop()
        except IndexError:
            digits = os.urandom(16 * ID_BATCH).hex().encode()
            self._ids = [digits[at : at + 32] for at in range(0, len(digits), 32)]
            return self._ids.pop()

    def date_line(self) -> bytes:
        """The `Date` field of this second."""
        now = int(time())
        if now != self._date_second:
            self._date_second = now
            self._date = f"Date: {format_date_time(now)}\r\n".encode()
        return self._date

    def reason(self, status: int) -> bytes:
        """The reason phrase of a status that a plugin chose."""
        return REASONS.get(status, b"Unknown")

    def latency_lines(self, ctx: Context) -> bytes:
        """How long the upstream and the gateway took, in ms, as far as the settings want it told."""
        first = ctx.first_byte_at or monotonic()
        upstream, own = (first - ctx.proxied_at) * 1000, (ctx.proxied_at - ctx.started) * 1000
        if self._both_latencies:
            return b"X-Kong-Upstream-Latency: %d\r\nX-Kong-Proxy-Latency: %d\r\n" % (upstream, own)
        lines = b"X-Kong-Upstream-Latency: %d\r\n" % upstream if self._upstream_latency else b""
        return lines + b"X-Kong-Proxy-Latency: %d\r\n" % own if self._proxy_latency else lines

    def own_lines(self, ctx: Context) -> bytes:
        """`Server` and the request id on answers made here."""
        lines = self._server_line
        if ctx.down is not None and ctx.down.touches("server"):
            lines = b""
        if self._sends_id:
            lines += b"X-Kong-Request-Id: %b\r\n" % ctx.request_id
        return lines

    def proxied_lines(self, ctx: Context, fields: AnswerFields) -> bytes:
        """The lines on proxied answers that differ from request to request, latencies apart."""
        lines = b"X-Kong-Request-Id: %b\r\n" % ctx.request_id if self._sends_id else b""
        if fields.date and self._proxied_lines_simple:
            return lines
        if not fields.date:
            lines += self.date_line()
        if self._upstream_status:
            lines += b"X-Kong-Upstream-Status: %d\r\n" % (ctx.upstream_status or ctx.status)
        if self.debug_header and ctx.fields.index.get("kong-debug"):
            lines += self._debug_lines(ctx)
        return lines

    @staticmethod
    def _debug_lines(ctx: Context) -> bytes:
        """Which route and service answered, for `Kong-Debug`."""
        lines = b""
        for kind, entry in (("Route", ctx.route), ("Service", ctx.service)):
            if entry is not None:
                name = entry.entity.get("name")
                lines += f"Kong-{kind}-Id: {entry.id}\r\n".encode()
                lines += f"Kong-{kind}-Name: {name}\r\n".encode() if name else b""
        return lines


def _forwarding(settings: Settings) -> Forwarding:
    return Forwarding(
        settings.trusted_networks,
        settings.trusts_unix,
        settings.real_ip_header,
        settings.real_ip_recursive,
        PRODUCT.encode(),
    )


def _answer_style(settings: Settings) -> AnswerStyle:
    """What `headers` and the charset make of every proxied answer."""
    enabled, charset, product = settings.enabled_headers, settings.nginx_http_charset, PRODUCT.encode()
    return AnswerStyle(
        charset=b"" if charset == "off" else charset.encode(),
        replaced=frozenset(name.encode() for name in enabled if name not in ("server", "via")),
        product=product if "via" in enabled else b"",
        server=product if "server" in enabled else b"",
    )
