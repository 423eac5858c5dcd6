"""How long peers are waited for: the pace that is asked of them, and the sweeper that ends waits which take too long.

Deadlines are plain numbers that the sweeper compares with the clock now and then: setting one costs next to nothing.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import gevent

from kong_gevent.proxy.turn import Outbox

if TYPE_CHECKING:
    from kong_gevent.proxy.stream import Stream

NEVER = float("inf")
SWEEP_SECONDS = 0.2
"""How late a deadline of a second or more may be noticed."""
PRECISE_BELOW = 1.0
"""Timeouts shorter than this many seconds get a timer of their own."""


class Pace:
    """The least speed that is asked of a peer, in bytes per second averaged over `grace` s; 0 asks for none.

    A peer has a credit of `grace` seconds. Only the time for which it is waited for uses it up, and each `rate` bytes
    that it moves meanwhile give a second back: who else is slow, an upstream for instance, is never its fault.
    """

    __slots__ = ("credit", "grace", "rate")

    def __init__(self, rate: float, grace: float) -> None:
        self.rate = rate
        self.grace = grace
        self.credit = grace if rate > 0 else NEVER
        """What a peer begins with."""

    def left(self, credit: float, waited: float, moved: int) -> float:
        """The credit after a wait of `waited` s in which the peer moved so many bytes."""
        return min(self.grace, credit - waited + moved / self.rate)


NO_PACE = Pace(0, 0)


class Streams:
    """All open streams of one event loop, and the sweeper that enforces their deadlines.

    `sending` and `taking` are the paces asked of the streams that have a credit: how fast they send, and take bytes.
    `tick` is the clock when the sweeper last looked: good enough for how long to keep what is idle.
    """

    def __init__(self, sending: Pace = NO_PACE, taking: Pace = NO_PACE) -> None:
        self.open: set[Stream] = set()
        self.outbox = Outbox()
        self.sending = sending
        self.taking = taking
        self.tick = monotonic()
        self._sweeper: gevent.Greenlet | None = None

    def add(self, stream: Stream) -> None:
        """Watch over a stream until it is closed."""
        self.open.add(stream)
        if self._sweeper is None:
            self.tick = monotonic()
            self._sweeper = gevent.spawn(self._sweep)

    def _sweep(self) -> None:
        while True:
            gevent.sleep(SWEEP_SECONDS)
            gevent.sleep(0)  # after a pause of this process, what came in time still waits in the kernel: it goes first
            now = self.tick = monotonic()
            for stream in [stream for stream in self.open if stream.deadline < now or stream.write_deadline < now]:
                stream.expire(now)
