"""The clock of a tunnel: what counts as silence, and that a pause of the process does not."""

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from kong_gevent.proxy.deadlines import NEVER
from kong_gevent.runtime import tunnel as module
from kong_gevent.runtime.tunnel import _Tunnel

IDLE = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Side:
    """A stream as far as the clock is concerned."""

    def __init__(self) -> None:
        self.read_timeout = self.write_timeout = IDLE
        self.writing = False
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def tunnel(clock: Clock) -> Iterator[Any]:
    tunnel: Any = _Tunnel(Side(), Side())  # type: ignore[arg-type]
    yield tunnel
    tunnel.end()


def judged(tunnel: Any) -> bool:
    """Let the clock look now, and the loop turn until there is a verdict."""
    tunnel._look()
    for _ in range(20):
        gevent.sleep(0.001)
    return bool(tunnel._client.closed)


def test_no_stream_has_a_read_deadline_of_its_own(tunnel: Any) -> None:
    """A read that expires marks its stream as failed, and the other direction could not write to it then."""
    assert tunnel._client.read_timeout == tunnel._upstream.read_timeout == NEVER


def test_silence_ends_both_sides(tunnel: Any, clock: Clock) -> None:
    clock.now += IDLE
    assert judged(tunnel)
    assert tunnel._upstream.closed


def test_bytes_of_either_direction_start_the_limit_again(tunnel: Any, clock: Clock) -> None:
    clock.now += IDLE - 1
    tunnel.active_at = clock.now
    clock.now += IDLE - 1
    assert not judged(tunnel)
    clock.now += 1
    assert judged(tunnel)


def test_a_peer_that_takes_its_time_to_read_is_not_silent(tunnel: Any, clock: Clock) -> None:
    tunnel._client.writing = True
    clock.now += 10 * IDLE
    assert not judged(tunnel)
    tunnel._client.writing = False
    assert judged(tunnel)


def test_what_waits_in_the_kernel_is_read_before_the_verdict(tunnel: Any, clock: Clock) -> None:
    """The process stood still past the limit; a reader finds its bytes in the same turn of the loop."""
    clock.now += 2 * IDLE
    tunnel._look()
    tunnel.active_at = clock.now
    for _ in range(20):
        gevent.sleep(0.001)
    assert not tunnel._client.closed
