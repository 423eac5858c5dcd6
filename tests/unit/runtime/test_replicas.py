"""Counters of several nodes together: exact on a node, told and learnt in between, whatever happens to a worker."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import sleep, time
from typing import Any

import gevent
import pytest

from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.errors import StoreUnavailable
from kong_gevent.pdk.kit import CountersUnavailable
from kong_gevent.runtime import counts, replicas
from kong_gevent.runtime.counts import CountTable, key_text
from kong_gevent.runtime.replicas import Replica, ReplicatedCounters, StorePlace

OWNER = ("ratelimit:r:s:", "ada")
Windows = tuple[tuple[str, float, float], ...]


def window(limit: float, seconds: float = 3600, name: str = ":hour") -> Windows:
    return ((name, limit, time() + seconds),)


class Store(MemoryStrategy):
    """A store that can be away, and says what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.reads: list[list[str]] = []
        self.pushes: list[int] = []

    def _check(self) -> None:
        gevent.sleep(0)
        if self.away:
            raise StoreUnavailable("away")

    def ping(self) -> None:
        self._check()

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        self.reads.append(list(keys))
        self._check()
        return super().read_counts(keys)

    def push_counts(self, origin: str, counts: Any) -> None:
        self._check()
        self.pushes.append(len(counts))
        super().push_counts(origin, counts)


class Node:
    """A node's shared memory, and one worker's view of it; synchronised only when a test says so."""

    def __init__(self, store: Store, tolerant: bool = True, table: CountTable | None = None) -> None:
        self.table = table or CountTable(1 << 8)
        self.replica = Replica(self.table, "store", StorePlace(self.table, store), 0.1)
        self.counters = ReplicatedCounters(self.replica, tolerant)
        self.replica.close()

    def ask(self, windows: Windows, owner: tuple[str, ...] = OWNER) -> bool:
        return self.counters.consume(owner, windows)[0]

    def sync(self) -> None:
        self.replica.turn()


@pytest.fixture(autouse=True)
def _every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters that have not changed are read at every synchronisation."""
    monkeypatch.setattr(counts, "REFRESH", 0.0)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(store: Store) -> Callable[..., Node]:
    return lambda **options: Node(store, **options)


Make = Callable[..., Node]


def test_a_node_alone_is_exact(make: Make) -> None:
    node = make()
    hour = window(10)
    assert [node.counters.consume(OWNER, hour) for _ in range(12)] == [
        *[(True, [used]) for used in range(10)],
        (False, [10]),
        (False, [10]),
    ]


def test_windows_count_together_or_not_at_all(make: Make) -> None:
    node = make()
    windows = (*window(2, name=":minute"), *window(5))
    assert [node.ask(windows) for _ in range(4)] == [True, True, False, False]
    assert node.counters.consume(OWNER, windows) == (False, [2, 2])


def test_what_one_has_told_the_other_knows(make: Make) -> None:
    first, second = make(), make()
    hour = window(10)
    for _ in range(6):
        assert first.ask(hour)
    first.sync()
    assert [second.ask(hour) for _ in range(6)] == [True] * 4 + [False] * 2
    second.sync()
    first.sync()
    assert first.counters.consume(OWNER, hour) == (False, [10])


def test_between_two_synchronisations_each_node_knows_its_own_count(make: Make) -> None:
    first, second = make(), make()
    hour = window(10)
    assert first.ask(hour) and second.ask(hour)
    assert sum(node.ask(hour) for node in (first, second) for _ in range(20)) == 18
    first.sync()
    second.sync()
    first.sync()
    assert first.counters.consume(OWNER, hour) == second.counters.consume(OWNER, hour) == (False, [20])


def test_a_new_counter_is_read_once_for_all_who_wait(make: Make, store: Store) -> None:
    told, node = make(), make()
    hour = window(1000)
    told.ask(hour)
    told.sync()
    store.reads.clear()
    jobs = [gevent.spawn(node.ask, hour) for _ in range(50)]
    gevent.joinall(jobs, raise_error=True)
    assert store.reads == [[key_text(OWNER, ":hour")]]
    assert node.counters.consume(OWNER, hour) == (True, [51])


def test_new_counters_of_many_are_read_together(make: Make, store: Store) -> None:
    node = make()
    hour = window(5)
    jobs = [gevent.spawn(node.ask, hour, ("p:", str(number))) for number in range(60)]
    gevent.joinall(jobs, raise_error=True)
    assert [len(keys) for keys in store.reads] in ([60], [1, 59])


def test_counters_that_are_known_are_never_read_for_a_request(make: Make, store: Store) -> None:
    node = make()
    hour = window(1000)
    node.ask(hour)
    store.reads.clear()
    for _ in range(5):
        for _ in range(20):
            node.ask(hour)
        hour = window(1000)
    assert store.reads == []


def test_a_counter_that_ends_soon_is_not_read_first(make: Make, store: Store) -> None:
    node = make()
    assert node.ask(window(5, 0.15))
    assert store.reads == []
    node.sync()
    assert len(store.reads) == 1


def test_only_what_has_changed_is_told(make: Make, store: Store) -> None:
    node = make()
    hour = window(1000)
    for number in range(30):
        node.ask(hour, ("p:", str(number)))
    node.sync()
    assert sum(store.pushes) == 30
    node.ask(hour, ("p:", "7"))
    node.sync()
    node.sync()
    assert sum(store.pushes) == 31


def test_counters_that_have_ended_are_forgotten(make: Make, store: Store) -> None:
    node = make()
    for number in range(30):
        node.ask(window(5, 0.1), ("p:", str(number)))
    assert len(node.table.in_use(node.replica.group)) == 30
    sleep(2.1)
    node.sync()
    assert node.table.in_use(node.replica.group) == []


def test_an_idle_counter_is_read_again_before_its_next_use(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "IDLE", 0.5)
    first, second = make(), make()
    hour = window(10)
    first.ask(hour)
    first.sync()
    for _ in range(9):
        second.ask(hour)
    second.sync()
    assert first.table.in_use(first.replica.group) != []
    sleep(0.6)
    first.sync()
    assert first.table.in_use(first.replica.group) == []
    assert [first.ask(hour) for _ in range(3)] == [False] * 3
    assert first.table.in_use(first.replica.group) != []


def test_a_restarted_node_goes_on_where_it_was(make: Make) -> None:
    hour = window(10)
    before = make()
    for _ in range(7):
        before.ask(hour)
    before.replica.flush()
    after = make()
    assert after.table.origin != before.table.origin
    assert [after.ask(hour) for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_slot_given_to_another_key_loses_nothing(make: Make, store: Store) -> None:
    """More counters than the table holds: what was told is read again."""
    node = make(table=CountTable(64))
    hour = window(3)
    owners = [("p:", str(number)) for number in range(200)]
    passed = 0
    for _ in range(4):
        for owner in random.sample(owners, len(owners)):
            passed += node.ask(hour, owner)
            node.sync()
    assert passed == 3 * len(owners)


class TestAway:
    def test_counting_goes_on_with_what_is_known(self, make: Make, store: Store) -> None:
        first, second = make(), make()
        hour = window(10)
        for _ in range(4):
            first.ask(hour)
        first.sync()
        assert second.ask(hour)
        store.away = True
        second.sync()
        assert [second.ask(hour) for _ in range(7)] == [True] * 5 + [False] * 2
        assert [second.ask(window(2), ("p:", "new")) for _ in range(3)] == [True, True, False]
        store.away = False
        second.sync()
        second.sync()
        first.sync()
        assert first.counters.consume(OWNER, hour) == (False, [10])
        assert not first.ask(window(2), ("p:", "new"))

    def test_or_it_ends_until_the_store_is_back(self, make: Make, store: Store) -> None:
        node = make(tolerant=False)
        hour = window(10)
        assert node.ask(hour)
        store.away = True
        assert node.ask(hour)
        node.sync()
        for owner in (OWNER, ("p:", "new")):
            with pytest.raises(CountersUnavailable):
                node.ask(hour, owner)
        store.away = False
        node.sync()
        assert node.counters.consume(OWNER, hour) == (True, [2])

    def test_a_new_counter_finds_out_as_well(self, make: Make, store: Store) -> None:
        node = make(tolerant=False)
        store.away = True
        with pytest.raises(CountersUnavailable):
            node.ask(window(10))
        assert len(store.reads) == 1
        with pytest.raises(CountersUnavailable):
            node.ask(window(10))
        assert len(store.reads) == 1

    def test_a_store_that_does_not_answer_costs_one_wait(
        self, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replicas, "PATIENCE", 0.1)
        monkeypatch.setattr(store, "_check", lambda: gevent.sleep(30))
        node = make()
        assert node.ask(window(10))
        began = time()
        assert all(node.ask(window(10), ("p:", str(number))) for number in range(50))
        assert time() - began < 5
        assert len(store.reads) == 1

    def test_what_was_counted_before_an_earlier_slot_was_known_again_is_added(self, make: Make, store: Store) -> None:
        table = CountTable(1 << 8)
        node = make(table=table)
        hour = window(100)
        for _ in range(10):
            node.ask(hour)
        node.sync()
        for place in table.in_use(node.replica.group):
            table.words[place] = 12345  # the slot has gone to another key
        store.away = True
        node.sync()
        for _ in range(3):
            node.ask(hour)
        store.away = False
        node.sync()
        node.sync()
        assert node.counters.consume(OWNER, hour) == (True, [13])
        assert store.read_counts([key_text(OWNER, ":hour")]) == {key_text(OWNER, ":hour"): {table.origin: 13}}


class TestWorkers:
    def test_workers_count_into_the_same_slots_and_any_of_them_tells(self, make: Make, store: Store) -> None:
        """A worker counts and dies at once; another one, which never saw the key, tells the others."""
        table = CountTable(1 << 8)
        hour = window(10)
        pid = os.fork()
        if not pid:
            with suppress(BaseException):
                table.forked()
                node = make(table=table)
                table.place(hash((node.replica.group, OWNER, ":hour")) or 1, node.replica.group, OWNER, hour[0], 0)
                table.use_anyway(table._places[hash((node.replica.group, OWNER, ":hour")) or 1])
                for _ in range(6):
                    node.ask(hour)
            os._exit(0)
        os.waitpid(pid, 0)
        survivor = make(table=table)
        survivor.sync()
        key = key_text(OWNER, ":hour")
        assert store.read_counts([key]) == {key: {table.origin: 6}}
        assert survivor.counters.consume(OWNER, hour) == (True, [6])

    def test_one_at_a_time_synchronises_and_another_follows(self, make: Make) -> None:
        table = CountTable(1 << 8)
        group = make(table=table).replica.group
        other = os.fork()
        if not other:
            sleep(60)
            os._exit(0)
        try:
            assert table.take_turn(group, other, 30)
            assert not table.take_turn(group, os.getpid(), 30)
            assert table.take_turn(group, other, 0.05)
            sleep(0.1)
            assert table.take_turn(group, os.getpid(), 30)
            table.leave_turn(group, os.getpid())
            assert table.take_turn(group, other, 30)
        finally:
            os.kill(other, 9)
            os.waitpid(other, 0)
        assert table.take_turn(group, os.getpid(), 30)

    def test_groups_are_told_apart_and_found_again(self) -> None:
        table = CountTable(1 << 8)
        numbers = [table.group(("redis", number)) for number in range(counts.GROUPS)]
        assert len(set(numbers)) == counts.GROUPS
        assert [table.group(("redis", number)) for number in range(counts.GROUPS)] == numbers
        for number in range(1, counts.GROUPS):
            table.take_turn(numbers[number], os.getpid(), 60)
        assert table.group("one more") == numbers[0]


class TestKeys:
    def test_short_ones_are_told_as_they_are(self) -> None:
        assert key_text(("ratelimit:r:s:", "ada"), ":1:hour") == "ratelimit:r:s:ada:1:hour"

    @pytest.mark.parametrize("identity", ["x" * 4000, "\ud800", "nul\0", "ü" * 150, "\x85"])
    def test_long_and_strange_ones_by_a_digest(self, identity: str) -> None:
        text = key_text(("ratelimit:r:s:", identity), ":1:hour")
        assert text.isascii() and text.isprintable() and len(text) <= counts.TEXT
        assert text.startswith("ratelimit:r:s:#") and text.endswith(":1:hour")
        assert text != key_text(("ratelimit:r:s:", identity + "x"), ":1:hour")

    def test_they_fit_into_their_slot(self, make: Make, store: Store) -> None:
        node = make()
        hour = window(3)
        owners = [("p:", "é" * length) for length in range(80, 110)]
        for owner in owners:
            node.ask(hour, owner)
        node.sync()
        assert set(store.reads[-1]) == {key_text(owner, ":hour") for owner in owners}


@pytest.fixture
def running(store: Store) -> Iterator[Node]:
    """A node that synchronises by itself."""
    node = Node(store)
    node.replica.open()
    yield node
    node.replica.close()


def test_synchronisation_runs_by_itself_until_it_is_closed(running: Node, store: Store) -> None:
    hour = window(10)
    running.ask(hour)
    key = key_text(OWNER, ":hour")
    with gevent.Timeout(10):
        while not store.read_counts([key]):
            gevent.sleep(0.02)
    running.replica.open()
    running.replica.close()
    running.ask(hour)
    with gevent.Timeout(10):
        while store.read_counts([key])[key][running.table.origin] != 2:
            gevent.sleep(0.02)
