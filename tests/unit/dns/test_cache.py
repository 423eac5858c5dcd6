"""What a worker remembers of names: how long, who waits, and what serves on when name servers fail."""

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.dns import resolver
from kong_gevent.dns.answers import Answer, NameNotResolved, Place
from kong_gevent.dns.resolver import Cache, Times

TIMES = Times(stale=100, not_found=30, error=1, size=100)
V4 = 2


class World:
    """A clock that stands still, and name servers that say what a test wants; `asked` are the names they were asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.known: list[Answer | None] = []
        self.gate: Event | None = None
        self.says: Callable[[], Answer] = lambda: answer("10.0.0.1")

    def find(self, name: str, known: Answer | None) -> Answer:
        self.asked.append(name)
        self.known.append(known)
        if self.gate is not None:
            self.gate.wait()
        return self.says()


def answer(*addresses: str, ttl: float = 60) -> Answer:
    return Answer("A", [Place(V4, address) for address in addresses], ttl)


def failing(missing: bool) -> Callable[[], Answer]:
    def fail() -> Answer:
        raise NameNotResolved("no", missing)

    return fail


def addresses(found: Answer) -> list[str]:
    return [ip for _, ip in found.addresses]


def settle() -> None:
    """Let look-ups in the background come to their end."""
    for _ in range(3):
        gevent.sleep(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    monkeypatch.setattr(resolver, "monotonic", lambda: made.now)
    yield made
    settle()


@pytest.fixture
def cache(world: World) -> Cache:
    return Cache(world.find, TIMES)


@pytest.mark.parametrize("name", ["10.0.0.9", "::1", "[::1]"])
def test_addresses_are_not_asked_for(world: World, cache: Cache, name: str) -> None:
    assert addresses(cache.look(name)) == [name.strip("[]")]
    world.now += 1e9
    assert cache.glance(name)[1] is None
    assert not world.asked


def test_an_answer_counts_as_long_as_its_ttl(world: World, cache: Cache) -> None:
    first = cache.look("a.test")
    world.now += 59
    assert cache.look("a.test") is first
    assert world.asked == ["a.test"]
    assert cache.expires("a.test") == 1060
    assert cache.expires("never.test") == 0


def test_then_it_serves_on_while_it_is_renewed(world: World, cache: Cache) -> None:
    cache.look("a.test")
    world.says = lambda: answer("10.0.0.2")
    world.now += 61
    for _ in range(3):
        assert addresses(cache.look("a.test")) == ["10.0.0.1"]
    settle()
    assert addresses(cache.look("a.test")) == ["10.0.0.2"]
    assert len(world.asked) == 2, "one look-up for all"
    assert world.known[0] is None
    assert addresses(world.known[1] or answer()) == ["10.0.0.1"], "the type that was found before is known"


def test_and_no_longer_than_it_may(world: World, cache: Cache) -> None:
    cache.look("a.test")
    world.says = lambda: answer("10.0.0.2")
    world.now += 60 + TIMES.stale
    assert addresses(cache.look("a.test")) == ["10.0.0.2"]


def test_the_same_places_stay_the_same_object(world: World, cache: Cache) -> None:
    world.says = lambda: answer("10.0.0.2", "10.0.0.1")
    first = cache.look("a.test")
    world.says = lambda: answer("10.0.0.1", "10.0.0.2")
    world.now += 61
    cache.look("a.test")
    settle()
    assert cache.look("a.test") is not first
    assert cache.look("a.test").places is first.places


@pytest.mark.parametrize(("missing", "seconds"), [(True, TIMES.not_found), (False, TIMES.error)])
def test_failures_are_remembered(world: World, cache: Cache, missing: bool, seconds: float) -> None:
    world.says = failing(missing)
    for _ in range(2):
        with pytest.raises(NameNotResolved) as failure:
            cache.look("a.test")
        assert failure.value.missing is missing
        with pytest.raises(NameNotResolved):
            cache.glance("a.test")
    assert len(world.asked) == 1
    world.says = lambda: answer("10.0.0.1")
    world.now += seconds
    assert addresses(cache.look("a.test")) == ["10.0.0.1"]


def test_when_nobody_can_tell_what_was_known_serves_on(world: World, cache: Cache) -> None:
    cache.look("a.test")
    world.says = failing(missing=False)
    for _ in range(5):
        world.now += 19
        assert addresses(cache.look("a.test")) == ["10.0.0.1"]
        settle()
    world.now += TIMES.stale
    with pytest.raises(NameNotResolved):
        cache.look("a.test")


def test_what_is_gone_is_gone(world: World, cache: Cache) -> None:
    cache.look("a.test")
    world.says = failing(missing=True)
    world.now += 61
    assert addresses(cache.look("a.test")) == ["10.0.0.1"], "nobody knows yet"
    settle()
    with pytest.raises(NameNotResolved):
        cache.look("a.test")


def test_those_who_wait_for_the_same_name_wait_together(world: World, cache: Cache) -> None:
    world.gate = Event()
    waiting = [gevent.spawn(cache.look, "a.test") for _ in range(5)]
    settle()
    assert cache.glance("a.test")[0] is None
    world.gate.set()
    assert [addresses(each.get(timeout=30)) for each in waiting] == [["10.0.0.1"]] * 5
    assert world.asked == ["a.test"]


def test_or_each_for_itself(world: World) -> None:
    cache = Cache(world.find, TIMES._replace(merge=False))
    world.gate = Event()
    waiting = [gevent.spawn(cache.look, "a.test") for _ in range(3)]
    settle()
    assert world.asked == ["a.test"] * 3
    world.gate.set()
    assert [addresses(each.get(timeout=30)) for each in waiting] == [["10.0.0.1"]] * 3


def test_who_began_a_look_up_may_go_away(world: World, cache: Cache) -> None:
    world.gate = Event()
    first, second = gevent.spawn(cache.look, "a.test"), gevent.spawn(cache.look, "a.test")
    settle()
    first.kill()
    world.gate.set()
    assert addresses(second.get(timeout=30)) == ["10.0.0.1"]


def test_answers_of_one_use_are_renewed_for_each(world: World, cache: Cache) -> None:
    for number in range(1, 4):
        world.says = lambda number=number: answer(f"10.0.0.{number}", ttl=0)  # type: ignore[misc]
        assert addresses(cache.look("a.test")) == [f"10.0.0.{number}"]
    world.gate = Event()
    world.says = lambda: answer("10.0.0.9", ttl=0)
    assert addresses(cache.look("a.test")) == ["10.0.0.3"], "a slow name server is not waited for"
    world.gate.set()


def test_a_glance_waits_for_nobody(world: World, cache: Cache) -> None:
    found, loading = cache.glance("a.test")
    assert found is None
    assert loading is not None
    assert loading.wait(30)
    found, loading = cache.glance("a.test")
    assert (addresses(found or answer()), loading) == (["10.0.0.1"], None)


def test_so_many_names_are_kept(world: World) -> None:
    cache = Cache(world.find, TIMES._replace(size=3))
    for name in ("a.test", "b.test", "c.test", "d.test"):
        cache.look(name)
    assert cache.expires("a.test") == 0, "the one that was renewed longest ago goes"
    assert all(cache.expires(name) for name in ("b.test", "c.test", "d.test"))


def test_a_fault_of_ours_is_a_failure_like_others(world: World, cache: Cache, caplog: Any) -> None:
    def broken() -> Answer:
        raise ValueError("a fault")

    world.says = broken
    with pytest.raises(NameNotResolved) as failure:
        cache.look("a.test")
    assert not failure.value.missing
    assert "could not be looked up" in caplog.text


def test_what_is_told_of_it(world: World, cache: Cache) -> None:
    cache.look("10.0.0.9")
    cache.look("a.test")
    world.now += 61
    world.says = failing(missing=False)
    cache.look("a.test")
    settle()
    known = {"query": 2, "query_succ": 1, "query_fail": 1, "type": "A", "records": 1, "error": "no"}
    assert cache.statistics() == {"a.test": known | {"ttl": 1.0, "stale": False}}
    world.now += 2
    assert cache.statistics() == {"a.test": known | {"ttl": -1.0, "stale": True}}
    world.gate = Event()
    cache.glance("b.test")
    settle()
    waiting = {"query": 1, "query_succ": 0, "query_fail": 0, "ttl": -world.now, "stale": False}
    assert cache.statistics()["b.test"] == waiting
    world.gate.set()
