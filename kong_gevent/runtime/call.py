"""One request on its way to the upstream: where it goes, and the bytes of its head and body."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from kong_gevent.balancer.algorithms import Peer
from kong_gevent.http.target import upstream_path
from kong_gevent.pdk import Context
from kong_gevent.pdk.context import Override
from kong_gevent.pdk.edits import FieldEdits
from kong_gevent.runtime.entries import Endpoint, ServiceEntry, host_header

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway


class Call:
    """One request on its way to the upstream: where it goes and the bytes of its head."""

    # Defaults live on the class: most calls leave them as they are.
    body: bytes | None = b""
    chunked: bool = False
    upgrade: bool = False
    server_name: str | None = None
    turn: int | None = None
    peer: Peer | None = None
    """Whom of an upstream's peers the request is with now."""
    peers_failed: Sequence[Peer] = ()
    balance_key: bytes | None = None
    host_told: bool = False
    """Whether a plugin has said what the Host is."""

    def __init__(self, gateway: Gateway, ctx: Context) -> None:
        route = ctx.route
        service: ServiceEntry = route.service
        fields = ctx.fields
        connection: Any = ctx.connection
        override = ctx.override
        self.target = service
        self.method = ctx.method
        host: bytes = (_client_host(ctx) if route.preserve_host else b"") or service.host_header
        prefix, target = self._target(ctx)
        if override is not None:
            host, target = self._overridden(gateway, ctx, host, target)
        ctx.upstream_target = target
        forward = fields.forward_trusted if connection.trusted else fields.forward
        edits = ctx.up
        if edits is not None:
            if edits.touches("host"):
                host = self._edited_host(edits, host)
                self.host_told = True
            forward = edits.apply(fields, forward)
        if self.target.endpoint.tls is not None:
            self.server_name = server_name(host)
        exchange = ctx.exchange
        if exchange.length == 0 and (override is None or override.body is None):
            framing = b"Content-Length: 0\r\n" if fields.content_length == 0 else b""
        else:
            framing = self._frame(gateway, ctx)
        options = b"keep-alive"
        if fields.upgrade is not None and ctx.minor and exchange.can_tunnel and fields.upgrade.lower() == b"websocket":
            self.upgrade = True
            options = b"keep-alive, Upgrade\r\nUpgrade: websocket"
        if fields.te_trailers:
            framing += b"TE: trailers\r\n"
        if gateway.sends_id_upstream:
            self.head = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: %b\r\n%b%b%bX-Kong-Request-Id: %b\r\n%b\r\n" % (
                self.method,
                target,
                host,
                options,
                forward,
                ctx.identity_lines() if ctx.identity is not None else b"",
                gateway.forwarding.lines(ctx, prefix),
                ctx.request_id,
                framing,
            )
        else:
            lines = gateway.forwarding.lines(ctx, prefix)
            self.head = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: %b\r\n%b%b%b%b\r\n" % (
                self.method,
                target,
                host,
                options,
                forward,
                ctx.identity_lines() if ctx.identity is not None else b"",
                lines,
                framing,
            )

    def change_host(self, host: bytes) -> None:
        """Say another Host than the service's; the name for TLS follows it."""
        head = self.head
        start = head.index(b"\r\nHost: ") + 8
        self.head = head[:start] + host + head[head.index(b"\r\n", start) :]
        if self.server_name is not None:
            self.server_name = server_name(host)

    def failed(self, peer: Peer) -> None:
        """A try with this peer has failed."""
        self.peers_failed = [*self.peers_failed, peer]

    @staticmethod
    def _edited_host(edits: FieldEdits, host: bytes) -> bytes:
        """A `Host` that plugins set; it goes into its own place, not among the other fields."""
        told = edits.values("host")
        edits.clear("Host")
        return told[0].encode("latin-1") if told else host

    @staticmethod
    def _target(ctx: Context) -> tuple[str, bytes]:
        """The prefix that is stripped and the request target for the upstream."""
        route = ctx.route
        base: str = route.service.path
        path = ctx.path
        matched: str = ctx.match.prefix
        prefix = matched if route.strip_path else ""
        if base == "/" and len(prefix) < 2:
            if ctx.plain_target:
                return prefix, ctx.target
            joined = path
        else:
            joined = upstream_path(base, matched, path, route.strip_path)
        target = joined.encode("latin-1")
        return prefix, target if ctx.query is None else b"%b?%b" % (target, ctx.query)

    def _overridden(self, gateway: Gateway, ctx: Context, host: bytes, target: bytes) -> tuple[bytes, bytes]:
        """Apply what plugins changed; the new Host and target."""
        override = ctx.override
        assert override is not None
        if override.method is not None:
            self.method = override.method
        if override.path is not None or override.query is not None:
            path, mark, query = target.partition(b"?")
            if override.path is not None:
                path = override.path.encode("latin-1")
            if override.query is not None:
                mark, query = (b"?", override.query) if override.query else (b"", b"")
            target = path + mark + query
        if override.changes_service:
            host = self._redirected(gateway, ctx, override, host)
        return host, target

    def _redirected(self, gateway: Gateway, ctx: Context, override: Override, host: bytes) -> bytes:
        """Call something else than the service says; the new Host."""
        changed: ServiceEntry = copy(ctx.service)
        self.target = changed
        if override.retries is not None:
            changed.retries = override.retries
        if override.timeouts is not None:
            changed.connect_timeout, changed.write_timeout, changed.read_timeout = override.timeouts
        if override.scheme is not None or override.host is not None:
            protocol = override.scheme or ctx.service.protocol
            name, port = override.host or ctx.service.host, override.port or ctx.service.port
            if override.host is None:
                changed.endpoint = ctx.service.endpoint_by(protocol, gateway.contexts)
            else:
                changed.endpoint = Endpoint(name, port, gateway.contexts.for_service(changed.entity, None, protocol))
            if not ctx.route.preserve_host:
                host = host_header(name, port, protocol)
        return host

    def _frame(self, gateway: Gateway, ctx: Context) -> bytes:
        """Take the body if it is at hand as a whole; the fields that announce it."""
        override = ctx.override
        exchange = ctx.exchange
        if override is not None and override.body is not None:
            self.body = override.body
        else:
            self.body = exchange.buffered_body(gateway.body_buffer if ctx.route.request_buffering else 0)
        if self.body is not None:
            return b"Content-Length: %d\r\n" % len(self.body)
        if exchange.length > 0:
            return b"Content-Length: %d\r\n" % exchange.length
        self.chunked = True
        return b"Transfer-Encoding: chunked\r\n"


def _client_host(ctx: Context) -> bytes:
    """The host that the client asked for; the authority of an absolute-form target counts (RFC 9112, section 3.2.2)."""
    if ctx.target[:1] in (b"/", b"*"):
        return ctx.fields.host or b""
    _, port, name = ctx.host
    return bytes(name) if port is None else b"%b:%d" % (name, port)


def server_name(host: bytes) -> str:
    """The name for SNI: the Host without its port."""
    name, colon, port = host.rpartition(b":")
    return (name if colon and port.isdigit() else host).strip(b"[]").decode("latin-1")
