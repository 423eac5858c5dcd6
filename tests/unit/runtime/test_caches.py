"""Look-ups: loaded once for all who ask, forgotten when they change, never kept beyond an entity's own life."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.runtime import caches
from kong_gevent.runtime.caches import LookupCache


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(caches, "monotonic", clock)
    return clock


def counting(value: Any) -> tuple[Callable[[], Any], list[int]]:
    calls: list[int] = []

    def load() -> Any:
        calls.append(1)
        return value

    return load, calls


@pytest.mark.parametrize("value", [{"id": "1"}, None])
def test_hits_and_misses_are_loaded_once(value: Any) -> None:
    cache = LookupCache()
    load, calls = counting(value)
    assert [cache.get("k", load) for _ in range(3)] == [value] * 3
    assert len(calls) == 1


def test_those_who_ask_at_once_share_one_load() -> None:
    cache = LookupCache()
    go = Event()
    calls: list[int] = []

    def load() -> str:
        calls.append(1)
        go.wait()
        return "value"

    asking = [gevent.spawn(cache.get, "k", load) for _ in range(5)]
    gevent.sleep(0)
    go.set()
    gevent.joinall(asking)
    assert [greenlet.value for greenlet in asking] == ["value"] * 5
    assert len(calls) == 1


def test_a_load_that_fails_fails_for_all_and_is_not_kept() -> None:
    cache = LookupCache()

    def broken() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.get("k", broken)
    assert cache.get("k", lambda: "back") == "back"


@pytest.mark.parametrize("forget", [lambda cache: cache.drop("k"), lambda cache: cache.clear()], ids=["drop", "clear"])
def test_a_load_that_a_change_overtakes_is_not_kept(forget: Callable[[LookupCache], None]) -> None:
    cache = LookupCache()

    def load() -> str:
        forget(cache)  # the entity changes while it is being read
        return "old"

    assert cache.get("k", load) == "old"
    assert cache.get("k", lambda: "new") == "new"


def test_values_and_misses_have_their_own_lives(clock: Clock) -> None:
    cache = LookupCache(ttl=60, negative_ttl=5)
    cache.get("hit", lambda: "x")
    cache.get("miss", lambda: None)
    clock.now += 10
    assert cache.peek("hit") == (True, "x")
    assert cache.peek("miss") == (False, None)
    clock.now += 60
    assert cache.peek("hit") == (False, None)


def test_an_entity_with_a_ttl_is_not_remembered_beyond_it(clock: Clock) -> None:
    cache = LookupCache()
    cache.get("k", lambda: {"id": "1", "ttl": 10})
    clock.now += 8
    assert cache.peek("k")[0]
    clock.now += 2
    assert not cache.peek("k")[0]


def test_conclusions_go_with_what_they_follow_from() -> None:
    cache = LookupCache()
    memory = cache.memory()
    memory["a"] = 1
    cache.drop("something")
    assert memory == {}
    timed = LookupCache(ttl=60).memory()
    timed["a"] = 1
    assert timed == {}


def test_the_oldest_entry_makes_room() -> None:
    cache = LookupCache(size=2)
    for key in "abc":
        cache.get(key, lambda: 1)
    assert [cache.peek(key)[0] for key in "abc"] == [False, True, True]
