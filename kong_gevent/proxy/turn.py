"""What goes out at the end of a turn of the event loop: requests that several clients have sent at once.

A peer that sleeps has to be woken by who sends to it, and that costs more than the sending: several microseconds of
the sender's time where the peer's core is idle. Requests that go out together wake it once. None waits for more than
`MOST` others, and one that is alone in its turn goes out as soon as nothing else is to be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded

if TYPE_CHECKING:
    from kong_gevent.proxy.stream import Stream

MOST = 8
"""Streams whose messages are kept back at a time."""


class Outbox(list["Stream"]):
    """The streams of one event loop that have something to say (`Stream.unsent`) at the end of its turn."""

    __slots__ = ()

    def flush(self) -> None:
        """Send all of it now. What fails is told to those who wait for the streams; nothing is raised."""
        streams = self[:]
        self.clear()
        for stream in streams:
            data = stream.unsent
            stream.unsent = b""
            if stream.fault is not None:
                continue
            try:
                sent = stream.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                stream.fail(error)
                continue
            if sent != len(data):
                gevent.spawn(_send_rest, stream, data[sent:])


def _send_rest(stream: Stream, data: bytes) -> None:
    try:
        stream.write(data)
    except (ConnectionClosed, DeadlineExceeded, OSError) as error:
        stream.fail(error)
