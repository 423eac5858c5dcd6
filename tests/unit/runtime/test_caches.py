"""Look-ups: loaded once for all who ask, forgotten when they change, never kept beyond an entity's own life."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.errors import StoreUnavailable
from kong_gevent.runtime import caches, gate
from kong_gevent.runtime.caches import LookupCache, own_key


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (caches, gate):
        monkeypatch.setattr(module, "monotonic", clock)
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


def test_the_oldest_entries_make_room() -> None:
    cache = LookupCache(capacity=10 * caches.weight("00", "v"))
    for number in range(30):
        cache.get(f"{number:02}", lambda: "v")
    assert [cache.peek(f"{number:02}")[0] for number in range(30)] == [False] * 20 + [True] * 10
    assert len(cache) == 10


def test_big_values_count_for_more() -> None:
    small, big = LookupCache(capacity=100_000), LookupCache(capacity=100_000)
    for number in range(1000):
        small.get(f"{number}", lambda: {"id": "x"})
        big.get(f"{number}", lambda: {"id": "x", "custom_id": "x" * 4000, "tags": ["t"] * 10})
    assert 15 < len(big) < 25
    assert len(small) > 5 * len(big)
    assert small.weight <= 100_000


def test_misses_do_not_crowd_out_what_is_in_use() -> None:
    cache = LookupCache(capacity=1 << 20)
    cache.get("known", lambda: "v")
    for number in range(2000):
        cache.get(f"{number}" + "x" * 8000, lambda: None)  # clients choose the keys that they ask with
    assert cache.peek("known") == (True, "v")
    assert cache.weight < 1 << 20


def test_a_value_replaces_a_miss_and_a_miss_a_value(clock: Clock) -> None:
    cache = LookupCache(ttl=10)
    cache.get("k", lambda: None)
    clock.now += 11
    assert cache.get("k", lambda: "v") == "v"
    clock.now += 11
    assert cache.get("k", lambda: None) is None
    assert len(cache) == 1


def away() -> None:
    raise StoreUnavailable("no route to store")


def test_a_value_past_its_time_serves_for_a_while_when_the_store_is_away(clock: Clock) -> None:
    cache = LookupCache(ttl=10, resurrect=30)
    cache.get("k", lambda: "old")
    clock.now += 20
    assert cache.get("k", away) == "old"
    clock.now += 19
    assert cache.get("k", away) == "old"
    clock.now += 2
    with pytest.raises(StoreUnavailable, match="no route"):
        cache.get("k", away)
    clock.now += 1
    assert cache.get("k", lambda: "new") == "new"


def test_the_store_is_asked_again_soon_while_old_values_serve(clock: Clock) -> None:
    cache = LookupCache(ttl=10, resurrect=30)
    cache.get("k", lambda: "old")
    clock.now += 11
    assert cache.get("k", away) == "old"
    load, calls = counting("new")
    assert cache.get("k", load) == "old"
    assert not calls
    clock.now += 1.1
    assert cache.get("k", load) == "new"


@pytest.mark.parametrize("value", [None, {"id": "1", "ttl": 11}], ids=["miss", "expired entity"])
def test_what_must_not_serve_any_longer_does_not(clock: Clock, value: Any) -> None:
    cache = LookupCache(ttl=10, resurrect=30)
    cache.get("k", lambda: value)
    clock.now += 12
    with pytest.raises(StoreUnavailable):
        cache.get("k", away)


def test_a_dropped_value_does_not_come_back(clock: Clock) -> None:
    cache = LookupCache(ttl=10, resurrect=30)
    cache.get("k", lambda: "revoked")
    cache.drop("k")
    with pytest.raises(StoreUnavailable):
        cache.get("k", away)


def test_other_failures_bring_nothing_back(clock: Clock) -> None:
    cache = LookupCache(ttl=10, resurrect=30)
    cache.get("k", lambda: "old")
    clock.now += 11

    def broken() -> None:
        raise ValueError("a plugin's mistake")

    with pytest.raises(ValueError, match="mistake"):
        cache.get("k", broken)


def test_who_waits_for_a_load_that_is_given_up_loads_itself() -> None:
    cache = LookupCache()
    begun = Event()

    def never() -> None:
        begun.set()
        Event().wait()

    first = gevent.spawn(cache.get, "k", never)
    begun.wait()
    second = gevent.spawn(cache.get, "k", lambda: "value")
    gevent.sleep(0)
    first.kill()
    assert second.get(timeout=5) == "value"


def test_values_read_ahead_are_not_kept_when_something_changed_meanwhile() -> None:
    cache = LookupCache()
    version = cache.version
    assert cache.warm([("a", "1")], version)
    cache.drop("b")
    assert not cache.warm([("b", "outdated")], version)
    assert cache.peek("a") == (True, "1")
    assert cache.peek("b") == (False, None)


def test_conclusions_tell_whether_something_changed_meanwhile() -> None:
    cache = LookupCache()
    memory = cache.memory()
    before = memory.version
    cache.drop("k")
    assert memory.version != before


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("things:x:::::", "things:name:x"),
        ("things:x:::::0f3f7a6c-6e0d-5b7e-9f59-6d1d5c1c9d0e", "things:name:x"),
        ("things:a:b::c:::::w", "things:name:a:b::c"),
        ("things::::::", "things:name:"),
        ("others:7:::::w", "others:id:7"),
        ("unknown:7:::::w", "unknown:id:7"),
        ("things:name:x", "things:name:x"),
        ("ldap_auth_cache:0123", "ldap_auth_cache:0123"),
        ("scalar", "scalar"),
    ],
)
def test_kongs_keys_are_understood(key: str, own: str) -> None:
    class Thing:
        cache_key = ("name",)

    class Other:
        cache_key = ()

    assert own_key({"things": Thing, "others": Other}, key) == own
