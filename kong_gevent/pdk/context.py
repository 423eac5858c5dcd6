"""One request's state, as plugins see it.

`ctx.request` tells what the client sent, `ctx.upstream` changes what the upstream will get, `ctx.response` is the
answer on its way back, `ctx.client` is who asks. The views are made when used, so a request pays only for what its
plugins touch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kong_gevent.http import problem
from kong_gevent.pdk.bodies import dump_json
from kong_gevent.pdk.edits import IDENTITY_NAMES, FieldEdits, HeaderTemplate, begun
from kong_gevent.pdk.identity import Identity
from kong_gevent.pdk.upstream import UpstreamView
from kong_gevent.pdk.views import NORMAL_NAMES, ClientView, RequestView, ResponseView

if TYPE_CHECKING:
    from kong_gevent.http.answers import AnswerFields
    from kong_gevent.http.heads import Scanned
    from kong_gevent.pdk.client_certificates import ClientCertificate
    from kong_gevent.pdk.plugin import Conf, Plugin
    from kong_gevent.proxy.pool import Lease, Try
    from kong_gevent.runtime.exchange import ClientConnection, Exchange
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.trace.recording import Recording

_get: Any = dict.get


class Exit:
    """An answer made by the gateway: status, body (bytes) and fields; `source` is "exit" or "error"."""

    __slots__ = ("body", "headers", "length", "source", "status")

    def __init__(self, status: int, body: bytes, headers: FieldEdits, source: str, length: int | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.source = source
        self.length = length
        """What an answer to HEAD tells as its length; negative: none is told; None: the length of `body`."""


class Context:
    """The state of one request. Plugins use the documented properties and methods; the rest belongs to the gateway.

    The views (`request`, …) are made anew each time and not kept: a context in a reference cycle would wait for the
    garbage collector instead of being reused by the next request.
    """

    # Defaults live on the class: a request only stores what differs, which makes contexts cheap to create. Instances
    # share their table of names as long as one stores no more than 30 of them, so what can be derived is a property.
    host: tuple[str, int | None, bytes] = ("", None, b"")  # name in lower case, port if given, name as sent
    path: str = ""
    plain_target: bool = False
    raw_path: bytes = b""
    query: bytes | None = None
    match: Any = None
    route: Any = None
    identity: Identity | None = None
    client_verify: str = "NONE"
    """What log records tell of the client's certificate: `SUCCESS`, or `FAILED:` and why; set by who verifies it."""
    authenticated_groups: Sequence[str] | None = None
    """Names of groups that an authentication has found out; assign to it. Plugins like acl judge by them."""
    identity_edited: bool = False  # whether plugins changed fields that tell who asks; `up` has all of them then
    up: FieldEdits | None = None
    down: FieldEdits | None = None
    override: Override | None = None
    answer: AnswerFields | None = None
    status: int = 0
    upstream_status: int = 0
    """What the upstream answered, when the client gets another status; else 0."""
    source: str = "service"
    proxied_at: float = 0.0
    first_byte_at: float = 0.0
    lease: Lease | None = None
    failed_tries: list[Try] | None = None
    chosen: Sequence[tuple[Plugin, Conf]] | None = None
    trace: Recording | None = None
    log_fields: dict[str, Any] | None = None
    request_bytes: bytes | None = None
    upstream_target: bytes = b""
    buffered_answer: bytes | None = None
    received_part: bytes = b""
    """In `body_filter`: the piece of the body as it came, before any plugin changed it."""
    query_arguments: dict[str, Any] | None = None
    _own: dict[Plugin, SimpleNamespace] | None = None
    _shared: dict[str, Any] | None = None

    def __init__(
        self, gateway: Gateway, exchange: Exchange, connection: ClientConnection, head: Scanned, started: float
    ) -> None:
        self.gateway = gateway
        self.exchange = exchange
        self.connection = connection
        self.method, self.target, self.minor, self.fields, self.head_size = head
        self.started = started
        self.request_id: bytes = gateway.new_id()

    @property
    def request(self) -> RequestView:
        """What the client sent."""
        return RequestView(self)

    @property
    def upstream(self) -> UpstreamView:
        """What the upstream will get; changeable in `rewrite` and `access`."""
        return UpstreamView(self)

    @property
    def response(self) -> ResponseView:
        """The answer; its status and fields are changeable up to `header_filter`."""
        return ResponseView(self)

    @property
    def client(self) -> ClientView:
        """Who asks: addresses, and the consumer and credential once an authentication plugin has set them."""
        return ClientView(self)

    @property
    def id(self) -> str:
        """The request id: 32 hexadecimal digits, also in the answer, the error bodies and the logs."""
        return self.request_id.decode()

    @property
    def matched_route(self) -> dict[str, Any] | None:
        """The route, as the Admin API shows it; None when no route matched."""
        return None if self.route is None else self.route.entity

    @property
    def matched_service(self) -> dict[str, Any] | None:
        """The route's service, as the Admin API shows it."""
        return None if self.service is None else self.service.entity

    @property
    def service_id(self) -> str | None:
        """The id of the route's service."""
        return None if self.service is None else self.service.entity["id"]

    @property
    def request_size(self) -> int:
        """Bytes received for this request so far: head and body."""
        return self.head_size + self.exchange.received

    @property
    def response_size(self) -> int:
        """Bytes of the answer sent so far: head and body."""
        return self.exchange.sent

    def latencies(self) -> tuple[float, float, float, float]:
        """In ms, up to now: the whole request, the gateway's share, waiting for the upstream, receiving its answer.

        The gateway's share is the time before the upstream was asked; without an upstream it is all, and waiting is -1.
        """
        now = monotonic()
        asked, answered = self.proxied_at, self.first_byte_at
        return (
            (now - self.started) * 1000,
            ((asked or now) - self.started) * 1000,
            ((answered or now) - asked) * 1000 if asked else -1,
            (now - answered) * 1000 if answered else 0,
        )

    @property
    def tries(self) -> list[Try]:
        """The attempts to reach the upstream, the last one included once it has been made; see `proxy.pool.Try`."""
        tries = list(self.failed_tries or ())
        if self.lease is not None:
            tries.append(self.lease.as_try(self))
        return tries

    @property
    def shared(self) -> dict[str, Any]:
        """Per-request values shared by all plugins."""
        if self._shared is None:
            self._shared = {}
        return self._shared

    @property
    def log(self) -> dict[str, Any]:
        """Fields to add to this request's log record; a dotted name makes nested objects."""
        if self.log_fields is None:
            self.log_fields = {}
        return self.log_fields

    def own(self, plugin: Plugin) -> SimpleNamespace:
        """Per-request values private to one plugin."""
        if self._own is None:
            self._own = {}
        space = self._own.get(plugin)
        if space is None:
            space = self._own[plugin] = SimpleNamespace()
        return space

    def conf_of(self, plugin: Plugin) -> Conf | None:
        """The configuration of `plugin` that was chosen for this request, if any."""
        return next((conf for chosen, conf in self.chosen or () if chosen is plugin), None)

    def authenticate(
        self, consumer: Mapping[str, Any] | None, credential: Mapping[str, Any] | None, identifier: str | None = None
    ) -> None:
        """Set who asks, and tell the upstream: `X-Consumer-*`, `X-Credential-Identifier`.

        A consumer without a credential is the anonymous one (`X-Anonymous-Consumer: true`). Later plugins with a
        configuration for this consumer use that configuration.
        """
        self.identify(Identity(consumer, credential, identifier))

    @property
    def client_ip(self) -> str:
        """The client's address, as `ctx.client.ip`."""
        connection = self.connection
        return self.gateway.forwarding.client_address(self) if connection.trusted else connection.peer_ip

    def identify(self, identity: Identity) -> None:
        """As `authenticate`, with an identity that was prepared before (see `Kit.memory`)."""
        self.identity = identity
        if self.identity_edited:
            self.up.set_all(identity.fields)  # type: ignore[union-attr]

    @property
    def client_certificate(self) -> ClientCertificate | None:
        """The certificate that the client has shown, unverified; None when it was not asked, or had none."""
        return self.connection.client_certificate

    @property
    def consumer(self) -> Mapping[str, Any] | None:
        """Who asks, once an authentication plugin has found out."""
        identity = self.identity
        return None if identity is None else identity.consumer

    @property
    def consumer_id(self) -> str | None:
        """The id of the consumer."""
        return None if self.identity is None else self.identity.consumer_id

    @property
    def credential(self) -> Mapping[str, Any] | None:
        """What proved it; None for the anonymous consumer."""
        identity = self.identity
        return None if identity is None else identity.credential

    @property
    def service(self) -> Any:
        """The route's service, compiled; None when there is none."""
        return None if self.route is None else self.route.service

    def identity_lines(self) -> bytes:
        """The lines that tell the upstream who asks, unless they are among the changes to its fields already.

        No request brings these fields (see `http.lines.IDENTITY_FIELDS`), so there is nothing to replace.
        """
        identity = self.identity
        return b"" if identity is None or self.identity_edited else identity.lines

    def edit_upstream(self, names: AbstractSet[str] = frozenset()) -> FieldEdits:
        """The changes to the upstream's fields, for the kit; `names` (normalised) are about to be changed."""
        edits = self.up
        if edits is None:
            edits = self.up = FieldEdits()
        if not self.identity_edited and not names.isdisjoint(IDENTITY_NAMES):
            self.identity_edited = True
            if self.identity is not None:
                edits.set_all(self.identity.fields)
        return edits

    def field(self, name: str) -> str | list[str] | None:
        """A field of the request by name: its text, a list of texts when it came more than once, None when absent."""
        found = _get(self.fields.index, NORMAL_NAMES[name])
        if found is None:
            return None
        if isinstance(found, list):
            return [value.decode("latin-1") for value in found]
        text: str = found.decode("latin-1")
        return text

    def set_upstream(self, template: HeaderTemplate, values: tuple[Any, ...] = ()) -> None:
        """Set the upstream's fields of a prepared template at once; as `ctx.upstream.set_all`."""
        edits = self.up
        if template.tells_identity and not self.identity_edited:
            edits = self.edit_upstream(template.names)
        if edits is None:
            self.up = begun(template, values)
        else:
            edits.set_all(template, values)

    def set_response(self, template: HeaderTemplate, values: tuple[Any, ...] = ()) -> None:
        """Set the answer's fields of a prepared template at once; as `ctx.response.set_all`."""
        edits = self.down
        if edits is None:
            self.down = begun(template, values)
        else:
            edits.set_all(template, values)

    def exit(self, status: int, body: Any = None, headers: Mapping[str, Any] | None = None) -> Exit:
        """End the request with this answer; use as `return ctx.exit(…)`.

        `body`: a mapping or list is sent as compact JSON, a text or bytes as they are, None as an empty body.
        """
        edits = FieldEdits()
        data = b""
        if isinstance(body, (dict, list)):
            data = dump_json(body)
            edits.set("Content-Type", "application/json; charset=utf-8")
        elif body is not None:
            data = body.encode() if isinstance(body, str) else bytes(body)
        for name, value in (headers or {}).items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                edits.set(name, value)
        kind = self.fields.index.get("content-type")
        if kind and kind[0].startswith("application/grpc") and not edits.touches("grpc-status"):
            data = _grpc(edits, status, body, data)
        return Exit(status, data, edits, "exit")

    def serve(
        self,
        status: int,
        body: bytes,
        fields: HeaderTemplate,
        values: tuple[Any, ...] = (),
        length: int | None = None,
    ) -> Exit:
        """End the request with a stored answer of an upstream; it counts as proxied. Use as `return ctx.serve(…)`.

        `length`: what the upstream told in an answer to HEAD (RFC 9110, section 8.6); negative when it told none.
        """
        self.proxied_at = self.first_byte_at = monotonic()
        edits = begun(fields, values)
        if self.down is not None:  # as with an answer that comes from the upstream now
            edits, self.down = self.down.over(edits), None
        return Exit(status, body, edits, "exit", length if self.method == b"HEAD" else None)

    def error(self, status: int, message: str | None = None, headers: Mapping[str, Any] | None = None) -> Exit:
        """End the request with an error answer in the format that the client accepts; with the request id in it."""
        edits = FieldEdits()
        text = problem.default_message(status) if message is None else message
        kind = self.fields.index.get("content-type")
        if kind and kind[0].startswith("application/grpc"):
            edits.set("Content-Type", "application/grpc")
            edits.set("grpc-status", problem.grpc_status(status))
            edits.set("grpc-message", text.replace("\r", " ").replace("\n", " "))
            data = b""
        else:
            accept = self.fields.index.get("accept")
            media = problem.negotiate(", ".join(accept)) if accept else problem.JSON
            data = problem.error_body(media, text, self.request_id.decode())
            edits.set("Content-Type", f"{media}; charset=utf-8")
        for name, value in (headers or {}).items():
            edits.set(name, value)
        return Exit(status, data, edits, "error")

    def record(self) -> dict[str, Any]:
        """The log record of this request: what logging plugins send (use in `log`)."""
        return self.gateway.recorder.record(self)

    def record_json(self) -> bytes:
        """The log record as JSON, which costs far less than to make it of `record`."""
        return self.gateway.recorder.text(self)


def _grpc(edits: FieldEdits, status: int, body: Any, data: bytes) -> bytes:
    """Say a plugin's answer in gRPC's way; the body that is left. One with a gRPC type of its own is sent as it is."""
    own = edits.values("content-type")
    if own and own[0].startswith("application/grpc"):
        return data
    number = problem.grpc_status(status)
    message = body.get("message") if isinstance(body, dict) else data.decode("utf-8", "replace")
    edits.set("Content-Type", "application/grpc")
    edits.set("grpc-status", number)
    edits.set("grpc-message", str(message or problem.GRPC_NAMES[number]).replace("\r", " ").replace("\n", " "))
    return b""


class Override:
    """What plugins changed about the call to the upstream, beyond its header fields; None means unchanged."""

    # Defaults live on the class: most requests change one or two of them.
    method: bytes | None = None
    path: str | None = None
    query: bytes | None = None
    body: bytes | None = None
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    retries: int | None = None
    timeouts: tuple[float, float, float] | None = None
    buffered: bool = False

    @property
    def changes_service(self) -> bool:
        """Whether another place than the service is called, or in another way."""
        return self.scheme is not None or self.host is not None or self.retries is not None or self.timeouts is not None
