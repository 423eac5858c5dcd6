"""The client's side of one request, as the pipeline sees it. Two kinds exist: `connection` and `wsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kong_gevent.errors import HttpError

if TYPE_CHECKING:
    from kong_gevent.pdk import Context
    from kong_gevent.pdk.client_certificates import ClientCertificate
    from kong_gevent.proxy.stream import Stream


class ClientConnection(Protocol):
    """Where a request came from, the same for all requests of a connection."""

    peer_ip: str
    """Address of who is connected, empty on a unix socket."""
    peer_port: int
    client_ip: str
    """The client's address that a PROXY protocol header named, else `peer_ip`."""
    client_port: int
    peer_bytes: bytes
    """As `peer_ip`, `unix:` on a unix socket."""
    server_ip: str
    port: int
    """The port that the client called, as `port_maps` shows it."""
    tls: bool
    server_name: str | None
    """The name that the client asked for in its TLS handshake."""
    client_subject: str | None
    """Subject of the certificate that the client has shown, and that was verified."""
    client_certificate: ClientCertificate | None
    """The certificate that the client has shown, and that nobody has verified yet."""
    trusted: bool
    """Whether its forwarding fields are believed."""
    serial: int
    requests: int
    """How many requests it has sent so far."""
    forwarded_lines: bytes
    """The forwarding fields towards upstreams, made for `forwarded_for`, the host that was asked for."""
    forwarded_for: object
    described: bytes
    """Its TLS in log records, once it was asked for."""


class Exchange(Protocol):
    """What the pipeline needs of a client.

    Bodies are decoded here: `read_body` gives data without framing, `write` takes data and frames it.
    """

    started: bool
    """Whether the head of the answer has been sent."""
    keep: bool
    """Whether the client may send another request on its connection."""
    length: int
    """Length of the request's body in bytes; -1 when it is only known at its end (chunked), 0 without a body."""
    uploading: bool
    """Whether the body is being passed on by a greenlet of its own, which may outlast the start of the answer."""
    received: int
    """Bytes of the request's body that have been read (decoded)."""
    sent: int
    """Bytes of the answer, head included, that have been handed to the transport."""
    trailers: list[tuple[bytes, bytes]]
    """The request's trailer fields, once its body has been read."""

    def body_done(self) -> bool:
        """Whether the whole request body has been read."""
        ...

    gone: bool
    """Whether the client closed its side while it was waiting; the upstream's stream has been closed then."""

    awaited: Stream | None
    """The upstream's stream that the client is waiting for."""

    def wait_for(self, upstream: Stream) -> None:
        """Set `awaited`, and notice at once if the client has gone already."""
        ...

    def read_body(self) -> bytes:
        """The next part of the body, empty at its end.

        Raises `HttpError` (400, 408, 413) for a body that breaks the rules, `ConnectionClosed` when the client left.
        """
        ...

    def buffered_body(self, limit: int) -> bytes | None:
        """The whole body when it is here already or has at most `limit` bytes, else None; 0 never waits for any."""
        ...

    def read_short_body(self, limit: int) -> bytes | None:
        """The whole body, still unread for `read_body`; None when it has more than `limit` bytes."""
        ...

    def read_whole_body(self, limit: int) -> bytes:
        """The whole body, still unread for `read_body`. Raises `HttpError` (413) beyond `limit` bytes."""
        ...

    def limit_body(self, limit: int, status: int, message: str, kind: type[HttpError] = HttpError) -> None:
        """Refuse the request as soon as more than `limit` bytes of body have come, by raising `kind` with the rest."""
        ...

    def splice_body(self, sink: Stream) -> bool:
        """Move the body to `sink` inside the kernel; False when that is impossible. Raises `ClientFault` as well."""
        ...

    def start(self, ctx: Context, status: int, reason: bytes, lines: bytes, length: int | None, body: bytes) -> None:
        """Send the answer's head and the first part of its body; `length` None means: known at the end."""
        ...

    def write(self, data: bytes) -> None:
        """Send more of the answer's body; waits while the client does not take it."""
        ...

    def splice_answer(self, source: Stream, count: int) -> bool:
        """Move `count` bytes of the answer from `source` inside the kernel; False when that is impossible here."""
        ...

    def finish(self, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """An answer whose length was not told is complete."""
        ...

    def abort(self) -> None:
        """The answer cannot be completed: make the client see that it is cut."""
        ...

    def interim(self, status: int, reason: bytes, lines: bytes) -> None:
        """Send an interim (1xx) answer, where the transport and the client know them."""
        ...

    def tunnel(self, ctx: Context, lines: bytes, upstream: Stream, first: bytes) -> None:
        """Answer 101 with these fields, then pass bytes both ways until both sides are done."""
        ...

    can_tunnel: bool
    """Whether `tunnel` works."""
