"""After an upgrade: bytes both ways, untouched, until both sides are done or silent for too long."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.proxy.stream import Stream

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

READ_SIZE = 65536


class _Tunnel:
    """Two directions that share one idle limit: the upstream's read timeout, in s."""

    def __init__(self, client: Stream, upstream: Stream) -> None:
        self.idle = upstream.read_timeout
        self.active_at = monotonic()
        client.read_timeout = self.idle
        client.write_timeout = upstream.write_timeout

    def pass_on(self, source: Stream, sink: Stream) -> int:
        """Copy one direction until its end, then half-close the other side; the number of bytes."""
        passed = 0
        try:
            while True:
                try:
                    data = source.read(READ_SIZE)
                except DeadlineExceeded:
                    if monotonic() - self.active_at < self.idle:
                        source.fault = None  # the other direction is alive, so the tunnel is
                        continue
                    raise
                self.active_at = monotonic()
                if not data:
                    sink.shutdown_write()
                    return passed
                sink.write(data)
                passed += len(data)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            source.close()
            sink.close()
            return passed


def run_tunnel(gateway: Gateway, client: Stream, upstream: Stream) -> tuple[int, int]:
    """Serve the tunnel to its end; bytes from the client and bytes to it."""
    tunnel = _Tunnel(client, upstream)
    gateway.tunnels += 1
    try:
        back = gevent.spawn(tunnel.pass_on, upstream, client)
        received = tunnel.pass_on(client, upstream)
        answered: int = back.get()
        return received, answered
    finally:
        gateway.tunnels -= 1
        client.close()
        upstream.close()
