"""Totals that origins publish: they only grow, end by themselves, and may be published again at will."""

import time

from kong_gevent.db import Store


def test_totals_are_kept_per_origin(store: Store) -> None:
    later = time.time() + 60
    store.strategy.push_counts("a", {"x": (3, later), "y": (1, later)})
    store.strategy.push_counts("b", {"x": (5, later)})
    assert store.strategy.read_counts(["x", "y", "z"]) == {"x": {"a": 3, "b": 5}, "y": {"a": 1}}


def test_a_smaller_or_repeated_total_changes_nothing(store: Store) -> None:
    later = time.time() + 60
    for total in (3, 7, 7, 4):
        store.strategy.push_counts("a", {"x": (total, later)})
    assert store.strategy.read_counts(["x"]) == {"x": {"a": 7}}


def test_counters_end(store: Store) -> None:
    now = time.time()
    store.strategy.push_counts("a", {"short": (1, now + 4), "long": (1, now + 600)})
    found = set(store.strategy.read_counts(["short", "long"]))
    assert found == {"short", "long"} or time.time() > now + 4
    deadline = now + 60
    while set(store.strategy.read_counts(["short", "long"])) != {"long"}:
        assert time.time() < deadline, "the counter never ended"
        time.sleep(0.1)
    store.strategy.prune()
    assert store.strategy.read_counts(["short", "long"]) == {"long": {"a": 1}}


def test_many_counters_at_once(store: Store) -> None:
    later = time.time() + 60
    counts = {f"key-{number}": (number, later) for number in range(1200)}
    store.strategy.push_counts("a", counts)
    found = store.strategy.read_counts(list(counts))
    assert {key: totals["a"] for key, totals in found.items()} == {key: total for key, (total, _) in counts.items()}


def test_reading_nothing(store: Store) -> None:
    assert store.strategy.read_counts([]) == {}
