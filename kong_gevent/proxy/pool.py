"""Connections to upstreams: made on demand, kept while idle, dropped the moment the upstream closes them."""

from __future__ import annotations

import ssl
from time import monotonic, time
from typing import Any

from kong_gevent.proxy.connecting import connect
from kong_gevent.proxy.deadlines import NEVER, SWEEP_SECONDS, Streams
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import TlsStream

MOST_IDLE = 4096
"""Idle connections that are kept in all: clients that choose the name for TLS (`preserve_host`) choose origins, too."""


class Lease:
    """One upstream connection in use: its stream, how many requests it has carried, and whether it is used again."""

    __slots__ = ("origin", "requests", "reused", "stream")

    def __init__(self, stream: Stream, origin: Origin) -> None:
        self.stream = stream
        self.origin = origin
        self.requests = 0
        self.reused = False

    def as_try(self, ctx: Any) -> Try:
        """This exchange as an attempt of a request, for its log record."""
        return Try(
            self.origin.ip,
            self.origin.port,
            self.reused,
            time() - monotonic() + ctx.proxied_at,
            None,
            ctx.first_byte_at - ctx.proxied_at,
        )


class Try:
    """One attempt to reach an upstream: when it began (epoch s), how long choosing took (s), how it failed (status).

    `lasted`: s until its answer began, or it failed.
    """

    __slots__ = ("began", "code", "ip", "lasted", "port", "reused", "took")

    def __init__(self, ip: str, port: int, reused: bool, began: float, code: int | None, lasted: float) -> None:
        self.ip = ip
        self.port = port
        self.reused = reused
        self.began = began
        self.took = 0.0
        self.code = code
        self.lasted = lasted


class Origin:
    """One place to connect to: address, port and TLS parameters, with its idle connections (last used first)."""

    __slots__ = ("_address", "_context", "_family", "_free", "_on_idle", "_pool", "_server_name", "ip", "over", "port")

    def __init__(
        self, pool: Pool, family: int, ip: str, port: int, context: ssl.SSLContext | None, server_name: str | None
    ) -> None:
        self._pool = pool
        self._family = family
        self.ip = ip
        self.port = port
        self._address: Any = (ip, port)
        self._context = context
        self._server_name = server_name
        self._free: list[Lease] = []
        self._on_idle = self._drop
        self.over = False
        """Whether no connection is to be used for another request."""

    def __repr__(self) -> str:
        return f"<Origin {self.ip}:{self.port}{' tls' if self._context else ''} idle={len(self._free)}>"

    def take(self, connect_timeout: float, fresh: bool = False, once: bool = False) -> Lease:
        """An idle connection, or a new one (always if `fresh`). Raises `OSError` (`ssl.SSLError`), `DeadlineExceeded`.

        `once`: what is sent on it cannot be sent again, so that the loop's word is not enough that it has not ended.
        """
        free = self._free
        while free and not fresh:
            lease = free.pop()
            stream = lease.stream
            stream.idle = None
            self._pool.idle -= 1
            if once and not stream.is_quiet():
                stream.close()
            elif stream.fault is None:
                lease.reused = True
                return lease
        return Lease(self._connect(connect_timeout), self)

    def _connect(self, timeout: float) -> Stream:
        sock = connect(self._family, self._address, timeout)
        if self._context is None:
            return Stream(sock, self._pool.streams)
        stream = TlsStream(sock, self._pool.streams, self._context, self._server_name)
        stream.read_timeout = stream.write_timeout = timeout
        try:
            stream.handshake()
        except BaseException:
            stream.close()
            raise
        return stream

    def give(self, lease: Lease) -> None:
        """Put a connection back after a complete exchange; it is closed when the pool is full or the peer said more."""
        stream = lease.stream
        pool = self._pool
        lease.requests += 1
        full = len(self._free) >= pool.size or pool.idle >= pool.most or lease.requests >= pool.max_requests
        if stream.pending or stream.fault is not None or full or self.over:
            stream.close()
            return
        stream.deadline = pool.streams.tick + pool.idle_timeout
        stream.idle = self._on_idle
        self._free.append(lease)
        pool.idle += 1

    def drop_idle(self) -> None:
        """Close the idle connections."""
        free, self._free = self._free, []
        self._pool.idle -= len(free)
        for lease in free:
            lease.stream.close()

    def _drop(self, stream: Stream) -> None:
        """An idle connection became readable (closed, or bytes nobody asked for) or its time is over."""
        for position, lease in enumerate(self._free):
            if lease.stream is stream:
                del self._free[position]
                self._pool.idle -= 1
                break
        stream.close()


class Pool:
    """All origins of a worker. `size`: idle connections kept of each; `max_requests` per connection; times in s."""

    def __init__(
        self, streams: Streams, size: int = 512, max_requests: int = 10000, idle_timeout: float = 60.0
    ) -> None:
        self.streams = streams
        self.size = size
        self.most = max(size, MOST_IDLE)
        self.max_requests = max_requests or 1 << 62
        self.idle_timeout = idle_timeout + SWEEP_SECONDS if idle_timeout else NEVER  # never too early by `tick`
        self.idle = 0
        self._origins: dict[Any, Origin] = {}

    def origin(
        self, family: int, ip: str, port: int, context: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> Origin:
        """The origin for these parameters, shared by all services that use them."""
        key = (ip, port, id(context) if context else None, server_name)
        origin = self._origins.get(key)
        if origin is None:
            if len(self._origins) > 10000:
                self._origins = {key: origin for key, origin in self._origins.items() if origin._free}
            origin = self._origins[key] = Origin(self, family, ip, port, context, server_name)
        return origin

    def forget(self, context: ssl.SSLContext) -> None:
        """Close the idle connections with these TLS parameters; those in use are closed when they are given back."""
        for key, origin in list(self._origins.items()):
            if origin._context is context:
                origin.over = True
                origin.drop_idle()
                del self._origins[key]

    def close(self) -> None:
        """Close every idle connection."""
        for origin in self._origins.values():
            origin.drop_idle()
