"""Look-ups while the store is away: few try, the others fail at once, and all go on when it is back."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.errors import Overloaded, StoreUnavailable
from kong_gevent.runtime import gate as module
from kong_gevent.runtime.gate import PAUSE, Gate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def failing(calls: list[int]) -> Callable[[], Any]:
    def load() -> None:
        calls.append(1)
        raise StoreUnavailable("gone")

    return load


def test_after_a_failure_one_tries_now_and_then(clock: Clock) -> None:
    gate, calls = Gate(), []  # type: ignore[var-annotated]
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="gone"):
            gate.run("keys", failing(calls))
    assert len(calls) == 1
    clock.now += PAUSE + 0.01
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="gone"):
            gate.run("keys", failing(calls))
    assert len(calls) == 2
    clock.now += PAUSE + 0.01
    assert gate.run("keys", lambda: 1) == 1
    assert gate.run("keys", lambda: 2) == 2


def test_while_one_tries_the_others_do_not_wait(clock: Clock) -> None:
    gate = Gate()
    with pytest.raises(StoreUnavailable):
        gate.run("keys", failing([]))
    clock.now += PAUSE + 0.01
    go = Event()
    trying = gevent.spawn(gate.run, "keys", go.wait)
    gevent.sleep(0)
    with pytest.raises(StoreUnavailable):
        gate.run("keys", lambda: 1)
    go.set()
    trying.join()
    assert gate.run("keys", lambda: 1) == 1


def test_one_that_fails_among_others_that_succeed_closes_nothing(clock: Clock) -> None:
    gate = Gate()
    began, go = Event(), Event()

    def slow() -> None:
        began.set()
        go.wait()
        raise StoreUnavailable("timed out")

    unlucky = gevent.spawn(gate.run, "keys", slow)
    began.wait()
    clock.now += 1
    gate.run("keys", lambda: 1)
    go.set()
    unlucky.join()
    assert isinstance(unlucky.exception, StoreUnavailable)
    assert gate.run("keys", lambda: 2) == 2


def test_other_kinds_and_other_errors_are_not_touched(clock: Clock) -> None:
    gate = Gate()
    with pytest.raises(StoreUnavailable):
        gate.run("keys", failing([]))
    assert gate.run("documents", lambda: 1) == 1

    def broken() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        gate.run("documents", broken)
    assert gate.run("documents", lambda: 2) == 2


def test_it_opens_when_the_store_answers_somebody_else(clock: Clock) -> None:
    gate = Gate()
    with pytest.raises(StoreUnavailable):
        gate.run("keys", failing([]))
    gate.open()
    assert gate.run("keys", lambda: 1) == 1


def test_only_so_many_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    gate = Gate(width=2)
    go = Event()
    asking = [gevent.spawn(gate.run, kind, go.wait) for kind in ("keys", "consumers")]
    gevent.sleep(0)
    for kind in ("keys", "documents"):
        with pytest.raises(Overloaded):
            gate.run(kind, lambda: 1)
    go.set()
    gevent.joinall(asking)
    assert gate.run("keys", lambda: 1) == 1


def test_a_kind_that_waits_leaves_places_to_the_others() -> None:
    """As that of a directory which does not answer: it takes its time, but not that of the datastore's look-ups."""
    gate = Gate(width=4)
    go = Event()
    waiting = [gevent.spawn(gate.run, "directory", go.wait) for _ in range(4)]
    gevent.sleep(0)
    assert gate.run("keys", lambda: 1) == 1
    go.set()
    gevent.joinall(waiting)
    assert [each.successful() for each in waiting] == [True] * 4


def test_who_gives_up_waiting_for_a_place_takes_none_away() -> None:
    gate = Gate(width=2)
    go = Event()
    asking = [gevent.spawn(gate.run, kind, go.wait) for kind in ("keys", "consumers")]
    gevent.sleep(0)
    impatient = [gevent.spawn(gate.run, kind, lambda: 1) for kind in ("keys", "documents")]
    gevent.sleep(0)
    gevent.killall(impatient)
    go.set()
    gevent.joinall(asking)
    assert [gate.run(kind, lambda: 1) for kind in ("keys", "consumers", "documents")] == [1, 1, 1]


def test_a_look_up_within_a_look_up_has_its_place() -> None:
    gate = Gate(width=1)
    assert gate.run("outer", lambda: gate.run("inner", lambda: 1)) == 1
