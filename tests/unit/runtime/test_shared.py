"""Shared memory: exact counters, and a lock that outlives its holders."""

import os
import signal
import time
from copy import copy

import pytest

from kong_gevent.runtime import lock
from kong_gevent.runtime.shared import ACCEPTED, PID, REQUESTS, SharedState

SOON = 3600.0


@pytest.fixture
def shared() -> SharedState:
    return SharedState(counter_slots=1 << 8)


def windows(limit: int, *names: str, ends_in: float = SOON) -> tuple[tuple[str, int, float], ...]:
    return tuple((name, limit, time.time() + ends_in) for name in names)


def test_counts_in_all_windows_or_in_none(shared: SharedState) -> None:
    consume = shared.counters.consume
    wide, narrow = windows(5, "hour")[0], windows(2, "minute")[0]
    assert [consume("ada", (narrow, wide)) for _ in range(3)] == [(True, [0, 0]), (True, [1, 1]), (False, [2, 2])]
    assert consume("ada", (wide,)) == (True, [2])
    assert consume("bob", (narrow, wide)) == (True, [0, 0])


def test_the_same_windows_asked_for_again_are_counted_on(shared: SharedState) -> None:
    same = windows(3, "minute", "hour")
    assert [shared.counters.consume("ada", same)[0] for _ in range(4)] == [True, True, True, False]


def test_a_counter_ends_with_its_window(shared: SharedState) -> None:
    assert shared.counters.consume("ada", windows(1, "second", ends_in=-5)) == (True, [0])
    assert shared.counters.consume("ada", windows(1, "second", ends_in=-5)) == (True, [0])


def test_a_window_that_follows_another_counts_from_zero_and_the_other_goes_on(shared: SharedState) -> None:
    consume = shared.counters.consume
    hour, first, second = windows(9, "hour", "minute 1", "minute 2")
    assert [consume("ada", (first, hour)) for _ in range(2)] == [(True, [0, 0]), (True, [1, 1])]
    assert consume("ada", (second, hour)) == (True, [0, 2])
    assert consume("ada", (first, hour)) == (True, [2, 3])
    assert consume("ada", (second, hour)) == (True, [1, 4])


def test_the_order_and_number_of_windows_may_change(shared: SharedState) -> None:
    consume = shared.counters.consume
    second, minute, hour = windows(9, "second", "minute", "hour")
    assert consume("ada", (hour,)) == (True, [0])
    assert consume("ada", (minute, hour)) == (True, [0, 1])
    assert consume("ada", (second, minute, hour)) == (True, [0, 1, 2])
    assert consume("ada", (hour, second)) == (True, [3, 1])
    assert consume("ada", (second, minute, hour)) == (True, [2, 2, 4])


def test_an_owner_may_have_many_windows(shared: SharedState) -> None:
    many = windows(2, *(f"window {number}" for number in range(40)))
    assert [shared.counters.consume("ada", many) for _ in range(3)] == [
        (True, [0] * 40),
        (True, [1] * 40),
        (False, [2] * 40),
    ]


@pytest.mark.parametrize("names", [("minute",), ("minute", "hour"), ("second", "minute", "hour")])
def test_many_owners_are_counted_apart(shared: SharedState, names: tuple[str, ...]) -> None:
    wanted = windows(2, *names)
    owners = [("key", str(number)) for number in range(60)]
    for found in range(2):
        assert [shared.counters.consume(owner, wanted) for owner in owners] == [(True, [found] * len(names))] * 60
    assert not any(shared.counters.consume(owner, wanted)[0] for owner in owners)


def test_windows_of_one_owner_do_not_push_each_other_out_of_a_full_table(shared: SharedState) -> None:
    for number in range(2000):
        shared.counters.add(number, 1, time.time() + SOON)
    wanted = windows(2, "minute", "hour")
    assert [shared.counters.consume("ada", wanted)[0] for _ in range(3)] == [True, True, False]


def test_adds_and_reads(shared: SharedState) -> None:
    assert shared.counters.add("key", 3, time.time() + SOON) == 3
    assert shared.counters.add("key", 4, time.time() + SOON) == 7
    assert (shared.counters.value("key"), shared.counters.value("other")) == (7, 0)


def test_more_keys_than_slots_push_out_what_ends_first(shared: SharedState) -> None:
    shared.counters.add("keeps", 1, time.time() + 10 * SOON)
    for number in range(2000):
        assert shared.counters.add(number, 1, time.time() + SOON) == 1
    assert shared.counters.value("keeps") == 1


def test_processes_share_a_limit_exactly(shared: SharedState) -> None:
    wanted = windows(100, "minute")
    read, write = os.pipe()
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            shared.lock.forked()
            passed = sum(shared.counters.consume("all", wanted)[0] for _ in range(200))
            os.write(write, b"%d\n" % passed)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    os.close(write)
    with os.fdopen(read) as lines:
        assert sum(map(int, lines)) == 100


def test_the_lock_is_taken_over_from_a_holder_that_died(shared: SharedState) -> None:
    child = os.fork()
    if not child:
        shared.lock.forked()
        shared.lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert shared.counters.consume("ada", windows(1, "minute")) == (True, [0])
    assert shared.counters.consume("ada", windows(1, "minute")) == (False, [1])


def test_a_publication_is_seen_and_rings(shared: SharedState) -> None:
    lane = shared.take_lane()
    lane[PID] = os.getpid()
    before = shared.generation
    shared.published()
    assert shared.generation == before + 1
    assert os.eventfd_read(shared.bell(lane)) == 1


def test_totals_outlive_their_workers(shared: SharedState) -> None:
    kept, lane = shared.take_lane(), shared.take_lane()
    lane[PID], lane[ACCEPTED], lane[REQUESTS] = 4711, 3, 5
    shared.free_lane(lane, kept)
    assert (shared.total(ACCEPTED), shared.total(REQUESTS)) == (3, 5)
    assert shared.take_lane().index == lane.index


def test_a_change_of_another_node_begins_one_generation_whoever_finds_it_first(shared: SharedState) -> None:
    before = shared.generation
    assert shared.found(7) == before + 1
    assert shared.found(7) == 0
    assert shared.generation == before + 1
    assert shared.found(8) == before + 2


@pytest.mark.parametrize("first", ["the one that was stopped", "the one that took over"])
def test_one_that_was_stopped_with_the_lock_and_goes_on_later_does_no_lasting_harm(
    shared: SharedState, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(lock, "HOLDER_UNKNOWN", 0.0)
    stopped, other = shared.lock, copy(shared.lock)
    stopped._pid, other._pid = os.getpid(), os.getppid()
    assert stopped._take(False)
    other.acquire()  # nobody has said who holds it
    if first == "the one that took over":
        other.release()
    stopped._words[stopped._holder] = stopped._pid
    stopped.release()
    if first == "the one that was stopped":
        other.release()
    assert [stopped._take(False), stopped._take(False)] == [True, False], "one at a time, as before"
