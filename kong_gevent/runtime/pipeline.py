"""The life of a request: rewrite, route, access, upstream, header_filter, body_filter, log. Start reading here.

The pipeline is written once. It talks to the client through an *exchange* (`runtime.exchange`), which is either a raw
connection of the gateway's own worker or a call under some WSGI server, and to the upstream through `runtime.upstream`.
An early answer skips to the later phases; it never skips them.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import (
    AnswerCut,
    ConnectionClosed,
    DeadlineExceeded,
    HttpError,
    PluginLimit,
    ProtocolError,
    again,
)
from kong_gevent.http import problem
from kong_gevent.http.heads import ADMITTED
from kong_gevent.http.target import normalise_path, parse_host, split_absolute
from kong_gevent.pdk import Context, Exit, LookupFailed
from kong_gevent.pdk.edits import FieldEdits
from kong_gevent.runtime.answers import AnswerNow, ClientFault
from kong_gevent.runtime.classic import ClassicNotFound
from kong_gevent.runtime.phases import Phases
from kong_gevent.runtime.reasons import REASONS
from kong_gevent.runtime.relay import filter_body, run_filters
from kong_gevent.runtime.upstream import call_upstream

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

log = logging.getLogger("kong_gevent.proxy")
CLIENT_GONE = 499
"""Status in the logs of a request whose client went away before the answer was complete."""
KNOWN_TARGETS = 1024
KNOWN_TARGET_BYTES = 512
_REFUSED_METHODS = frozenset((b"TRACE", b"CONNECT"))


class Pipeline:
    """Runs requests through the phases, with what the gateway holds."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._targets: dict[bytes, tuple[bytes, bytes | None, str, bool]] = {}
        self._unknown = 0
        self._not_found = ClassicNotFound(gateway.plan) if gateway.settings.classic_answers else None

    def handle(self, ctx: Context) -> None:
        """Serve one request completely, the answer included.

        Raises `ConnectionClosed`, `DeadlineExceeded` or `OSError` when the client's connection is of no further use.
        """
        phases: Phases | None = None
        try:
            try:
                answer, phases = self._until_answer(ctx)
                if answer is not None:
                    self.send_exit(ctx, answer, phases)
                else:
                    call_upstream(self, ctx, phases)
            except AnswerNow as refusal:
                self.send_exit(ctx, refusal.answer, phases or Phases([]))
            except ClientFault as fault:
                if not isinstance(fault.cause, HttpError):
                    raise again(fault.cause) from None
                self._end(ctx, fault.cause, phases)
            except HttpError as error:
                self._end(ctx, error, phases)
        except AnswerCut as error:
            if ctx.exchange.gone:  # reading on has been given up for this reason
                self._client_gone(ctx)
            else:
                log.error("request %s: the answer is cut: %s", ctx.id, error)
            raise
        except (ConnectionClosed, DeadlineExceeded, OSError):
            self._client_gone(ctx)
            raise
        except Exception:
            log.exception("request %s failed", ctx.id)
            if ctx.exchange.started:
                ctx.exchange.abort()  # whoever reads it must not take it for a whole one
                raise
            self.send_error(ctx, 500, problem.MESSAGES[500], phases)
        finally:
            if phases is None or phases.log:
                self._run_log(ctx, phases)
            if self.gateway.access_log is not None:
                self.gateway.access_log.write(ctx)

    @staticmethod
    def _client_gone(ctx: Context) -> None:
        """What the logs tell of a request that the client has left, whatever the answer was or would have been."""
        if ctx.answer is not None:
            ctx.upstream_status = ctx.upstream_status or ctx.status
        elif ctx.source == "service":  # as it begins: nobody has answered
            ctx.source = "error"
        ctx.status = CLIENT_GONE

    def _end(self, ctx: Context, error: HttpError, phases: Phases | None) -> None:
        """Answer with an error: in the plugins' way when a plugin set the limit that was exceeded."""
        if isinstance(error, ProtocolError):
            ctx.exchange.keep = False
        if isinstance(error, PluginLimit) and phases is not None and not ctx.exchange.started:
            self.send_exit(ctx, ctx.error(error.status, error.message), phases)
        else:
            self.send_error(ctx, error.status, error.message, phases)

    def _until_answer(self, ctx: Context) -> tuple[Exit | None, Phases]:
        """Rewrite, route and access; the early answer if there is one, and the phases that follow."""
        plan = self.gateway.plan
        self.read_target(ctx)
        if self.gateway.body_limit and ctx.exchange.length:
            self.limit_body(ctx, self.gateway.body_limit)
        for function, conf in plan.table.rewrite:
            try:
                answer = function(ctx, conf)
            except Exception as error:
                answer = self.failure(ctx, error)
            if answer is not None:
                return answer, plan.global_chain.phases_without_access()
        match = self.find(ctx, plan.router)
        if match is None:
            return self.no_route(ctx), plan.global_chain.phases_without_access()
        ctx.match = match
        route = ctx.route = match.payload
        chain = route.chain if route.chain_version == plan.table.version else plan.chain_of(route)
        if route.https_only or route.grpc:
            answer = self.check_protocol(ctx, route)
            if answer is not None:
                return answer, chain.phases_without_access()
        result: Any = None
        phases = chain.fixed
        if phases is not None:
            try:
                for function, conf in chain.access:
                    result = function(ctx, conf)
                    if result is not None:
                        break
            except Exception as error:  # whatever a plugin raises becomes an answer below, never a pass
                result = error
        else:
            result, phases = chain.run_choosing(ctx)
        ctx.chosen = phases.chosen
        if isinstance(result, Exception):
            result = self.failure(ctx, result)
        if result is None and route.service is None:
            result = self.no_service(ctx)
        return result, phases

    def find(self, ctx: Context, router: Any) -> Any:
        """Ask a router (what has its `match`) about a request; the port is that of the Host, else the listener's."""
        host, port, _ = ctx.host
        connection = ctx.connection
        return router.match(
            ctx.method, ctx.path, host, port or connection.port, ctx.fields.get, connection.server_name, connection.tls
        )

    def no_route(self, ctx: Context) -> Exit:
        """The answer when no route matches."""
        classic = self._not_found.answer(ctx) if self._not_found is not None else None
        return classic or ctx.error(404, "no Route matched with those values")

    @staticmethod
    def no_service(ctx: Context) -> Exit:
        """The answer when the route has no service, and no plugin has answered."""
        return ctx.error(503, "no Service found with those values")

    @staticmethod
    def limit_body(ctx: Context, limit: int) -> None:
        """Refuse a body of more than `limit` bytes: now if its length is told, else once so many have come."""
        if ctx.exchange.length > limit:
            raise HttpError(413, problem.MESSAGES[413], "the body is larger than nginx_http_client_max_body_size")
        ctx.exchange.limit_body(limit, 413, problem.MESSAGES[413])

    def failure(self, ctx: Context, error: Exception) -> Exit:
        """The answer when a plugin raised before there was one. What the client's connection raised is raised again."""
        if isinstance(error, (ConnectionClosed, DeadlineExceeded)):
            raise again(error)
        if isinstance(error, HttpError):
            return ctx.error(error.status, error.message)
        if isinstance(error, LookupFailed):
            log.error("request %s: the datastore did not answer a look-up: %s", ctx.id, error)
            return ctx.error(503)
        log.error("request %s: a plugin failed", ctx.id, exc_info=error)
        return ctx.error(500)

    # --- target and protocol ---------------------------------------------------------------------------------------

    def read_target(self, ctx: Context) -> None:
        """Host, path and query of the request (RFC 9112, section 3.2). Raises `ProtocolError`."""
        target = ctx.target
        if ctx.method in _REFUSED_METHODS:
            raise ProtocolError(405, problem.MESSAGES[405])
        host = ctx.fields.host
        if target[:1] == b"/":
            ctx.raw_path, ctx.query, ctx.path, ctx.plain_target = self._targets.get(target) or self._split(target)
        else:
            host, target = self._other_form(ctx, target, host)
            ctx.raw_path, ctx.query, ctx.path, _ = self._split(target)
        ctx.host = self.gateway.hosts.get(host) or self._read_host(host)

    def _split(self, target: bytes) -> tuple[bytes, bytes | None, str, bool]:
        """Raw path, query, path in normal form, and whether that is how it was sent; now and then remembered."""
        path, mark, query = target.partition(b"?")
        text = path.decode("latin-1")
        normal = normalise_path(text)
        found = (path, query if mark else None, normal, normal is text)
        self._unknown += 1
        if not self._unknown % ADMITTED and len(target) <= KNOWN_TARGET_BYTES:
            if len(self._targets) >= KNOWN_TARGETS:
                self._targets.clear()
            self._targets[target] = found
        return found

    def _other_form(self, ctx: Context, target: bytes, host: bytes | None) -> tuple[bytes | None, bytes]:
        if target == b"*" and ctx.method == b"OPTIONS":
            return host, b"/"
        absolute = split_absolute(target)
        if absolute is None:
            raise ProtocolError(400, problem.MESSAGES[400], "request target in an unknown form")
        authority, target = absolute
        if host:
            parse_host(host)  # a bad one is refused even where it does not count
        return authority, target

    def _read_host(self, host: bytes | None) -> tuple[str, int | None, bytes]:
        """Name in lower case, port if given, and the name as sent; remembered for the next request."""
        if host is None:
            return "", None, b""
        if not host:
            parsed: tuple[str, int | None, bytes] = ("", None, b"")
        else:
            name, port = parse_host(host)
            bare = host if port is None else host[: host.rfind(b":")]
            parsed = (name.lower(), port, bare)
        hosts = self.gateway.hosts
        if len(hosts) > 4096:
            hosts.clear()
        hosts[host] = parsed
        return parsed

    def check_protocol(self, ctx: Context, route: Any) -> Exit | None:
        """Redirects and refusals by the route's protocols (Kong 3.9)."""
        if route.https_only and not route.grpc and self.gateway.forwarding.scheme(ctx) != "https":
            if route.redirect_status == 426:
                headers = {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"}
                return ctx.error(426, "Please use HTTPS protocol", headers)
            host = self.gateway.forwarding.host(ctx)
            return ctx.exit(
                route.redirect_status, None, {"Location": f"https://{host}{origin_form(ctx).decode('latin-1')}"}
            )
        if route.grpc:
            kind = ctx.request.header("content-type") or ""
            if kind.startswith("application/grpc"):
                return ctx.error(426, "Please use HTTP2 protocol", {"Connection": "Upgrade", "Upgrade": "HTTP/2"})
            return ctx.error(415, "Non-gRPC request matched gRPC route")
        return None

    def refuse(self, ctx: Context, error: HttpError) -> None:
        """Answer a request that could not even be read."""
        try:
            self.send_error(ctx, error.status, error.message, None)
        finally:
            self._run_log(ctx, None)
            if self.gateway.access_log is not None:
                self.gateway.access_log.write(ctx)

    # --- answers made here -----------------------------------------------------------------------------------------

    def send_error(self, ctx: Context, status: int, message: str, phases: Phases | None) -> None:
        """Answer with an error of the server layer: its format follows Accept, else Content-Type, else the setting."""
        if ctx.exchange.started:
            raise ConnectionClosed("the answer had begun")
        accept = ctx.fields.index.get("accept") if ctx.fields is not None else None
        kind = ctx.fields.index.get("content-type") if ctx.fields is not None and not accept else None
        if accept:
            media = problem.negotiate(", ".join(accept))
        else:
            given = kind[0].partition(";")[0].strip().lower() if kind else ""
            media = given if given in problem.TEMPLATES else self.gateway.error_default_type
        edits = FieldEdits()
        edits.set("Content-Type", f"{media}; charset=utf-8")
        body = problem.error_body(media, message, ctx.id)
        if phases is None:
            phases = self.gateway.plan.global_chain.phases_without_access()
        self.send_exit(ctx, Exit(status, body, edits, "error"), phases)

    def send_exit(self, ctx: Context, answer: Exit, phases: Phases) -> None:
        """Answer without (or instead of) the upstream; header_filter and body_filter run as for any answer."""
        ctx.source = answer.source
        if ctx.answer is not None:  # a plugin's answer in place of the upstream's
            ctx.upstream_status = ctx.upstream_status or ctx.status
        ctx.status = answer.status
        ctx.answer = None
        earlier = ctx.down
        ctx.down = answer.headers if earlier is None else answer.headers.over(earlier)
        run_filters(ctx, phases)
        body = filter_body(ctx, phases, answer.body, last=True) if phases.body_filter else answer.body
        gateway = self.gateway
        if ctx.proxied_at:
            latency = gateway.latency_lines(ctx)
        elif gateway.sends_response_latency:
            latency = b"X-Kong-Response-Latency: %d\r\n" % ((monotonic() - ctx.started) * 1000)
        else:
            latency = b""
        date = b"" if ctx.down.touches("date") else gateway.date_line()
        lines = b"%b%b%b%b" % (ctx.down.added(), date, latency, gateway.own_lines(ctx))
        length: int | None = len(body)
        if answer.length is not None:
            length = None if answer.length < 0 or ctx.down.touches("content-length") else answer.length
        ctx.exchange.start(ctx, ctx.status, REASONS.get(ctx.status, b"Unknown"), lines, length, body)

    # --- the end ---------------------------------------------------------------------------------------------------

    def _run_log(self, ctx: Context, phases: Phases | None) -> None:
        """Run `log` of all plugins; nothing of this may hurt the request."""
        if phases is None:
            phases = self.gateway.plan.global_chain.phases_without_access()
        for function, conf in phases.log:
            try:
                function(ctx, conf)
            except Exception:
                log.exception("request %s: a plugin's log phase failed", ctx.id)


def origin_form(ctx: Context) -> bytes:
    """Path and query as sent, without scheme and authority."""
    return ctx.raw_path if ctx.query is None else b"%b?%b" % (ctx.raw_path, ctx.query)
