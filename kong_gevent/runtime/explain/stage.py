"""The client of a request that is only imagined: its connection, its exchange, and the context made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kong_gevent.http.fields import RequestFields
from kong_gevent.http.imagined import ImaginedRequest
from kong_gevent.pdk import Context

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

PLACEHOLDER = b"(one for each request)"


class ImaginedClient:
    """Connection and exchange in one (see `runtime.exchange`), of which nothing can be read or written."""

    peer_port = client_port = 0
    server_ip = ""
    serial = requests = 1
    client_subject: str | None = None
    client_certificate: Any = None
    started = uploading = gone = False
    keep = can_tunnel = True
    received = sent = 0
    awaited: Any = None

    def __init__(self, gateway: Gateway, request: ImaginedRequest) -> None:
        self.peer_ip = self.client_ip = request.client_ip
        self.peer_bytes = request.client_ip.encode() or b"unix:"
        self.tls = request.scheme == "https"
        self.server_name = request.sni
        self.port = _port(gateway, self.tls, request.port)
        self.trusted = gateway.forwarding.trusts(request.client_ip)
        self.forwarded_lines = b""
        self.forwarded_for: Any = None
        self.trailers: list[tuple[bytes, bytes]] = []
        self.length = 0

    def expect(self, fields: RequestFields) -> None:
        """Take the length of the body from the header."""
        self.length = -1 if fields.chunked else max(fields.content_length, 0)

    def limit_body(self, *_limit: Any) -> None:
        """There is no body."""

    def buffered_body(self, _limit: int) -> bytes | None:
        """There is no body, whatever the header announces."""
        return None if self.length else b""


def _port(gateway: Gateway, tls: bool, asked: int | None) -> int:
    """The port of the listener: the one asked for if it is one, else the first that speaks the same protocol."""
    listeners = [listener.port for listener in gateway.settings.proxy_listeners if listener.ssl == tls]
    default = 443 if tls else 80
    port = asked if asked in listeners else (listeners or [asked or default])[0]
    assert port is not None
    return gateway.port_map.get(port, port)


def context_of(gateway: Gateway, request: ImaginedRequest, started: float) -> Context:
    """The request as the gateway would have read it. Raises `ProtocolError` for one that it would refuse."""
    client: Any = ImaginedClient(gateway, request)  # no exchange: as much of one as comes before the upstream
    head = gateway.requests.scan(request.head())
    assert head is not None  # it is complete
    client.expect(head[3])
    ctx = Context(gateway, client, client, head, started)
    ctx.request_id = PLACEHOLDER
    return ctx
