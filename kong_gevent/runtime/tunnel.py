"""After an upgrade: bytes both ways, untouched, until both sides are done or silent for too long."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.proxy.deadlines import NEVER
from kong_gevent.proxy.stream import Stream

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

READ_SIZE = 65536


class _Tunnel:
    """Two directions with one clock: the tunnel ends when both are silent for the upstream's read timeout, in s.

    Neither stream has a read deadline of its own. One would mark its stream as failed while the other direction is
    alive, and a write to it in that moment would end the tunnel.
    """

    def __init__(self, client: Stream, upstream: Stream) -> None:
        self._client = client
        self._upstream = upstream
        self._idle = upstream.read_timeout
        self._loop = get_hub().loop
        self._timer: Any = None
        self.active_at = monotonic()
        client.write_timeout = upstream.write_timeout
        client.read_timeout = upstream.read_timeout = NEVER
        client.credit_to_send = client.credit_to_take = NEVER
        self._look_again_in(self._idle)

    def pass_on(self, source: Stream, sink: Stream) -> int:
        """Copy one direction until its end, then half-close the other side; the number of bytes."""
        passed = 0
        try:
            while data := source.read(READ_SIZE):
                self.active_at = monotonic()
                sink.write(data)
                passed += len(data)
            self.active_at = monotonic()
            sink.shutdown_write()
        except (ConnectionClosed, DeadlineExceeded, OSError):
            source.close()
            sink.close()
        return passed

    def end(self) -> None:
        """Close both sides and stop the clock."""
        self._stop_timer()
        self._client.close()
        self._upstream.close()

    # --- the clock, in the hub ---------------------------------------------------------------------------------------

    def _look_again_in(self, seconds: float) -> None:
        self._timer = self._loop.timer(seconds)
        self._timer.start(self._look)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()

    def _look(self) -> None:
        """The limit may have passed: wait for its rest, or judge."""
        self._stop_timer()
        left = self.active_at + self._idle - monotonic()
        if self._client.writing or self._upstream.writing:
            self._look_again_in(self._idle)  # not silent: a peer takes its time to read, which has its own limit
        elif left > 0:
            self._look_again_in(left)
        else:
            # After a pause of this process, what came in time still waits in the kernel: it is read before the verdict.
            self._timer = self._loop.timer(0)
            self._timer.start(self._judge)

    def _judge(self) -> None:
        if self.active_at + self._idle - monotonic() > 0 or self._client.writing or self._upstream.writing:
            self._look()
        else:
            self.end()


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
        tunnel.end()
