"""When a reader of events stores what somebody else has committed and not stored yet."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kong_gevent.db.strategies.cassandra import events
from kong_gevent.db.strategies.cassandra.entry import Point
from kong_gevent.db.strategies.cassandra.log import State


@pytest.mark.parametrize(
    ("changes", "local", "patience"),
    [(1, True, 1.0), (1, False, 0.0), (50_000, True, 11.0), (50_000, False, 0.0)],
    ids=["small", "small, elsewhere", "large", "large, elsewhere"],
)
def test_who_commits_much_gets_the_time_to_store_it(
    changes: int, local: bool, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    settled: list[State] = []
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(events.random, "random", lambda: 0.0)
    unapplied = State(Point(10 + changes, UUID(int=2), 0), Point(10, UUID(int=1), 0), 1, local)
    log: Any = SimpleNamespace(state=lambda: unapplied, settled=settled.append)
    reader = events.EventReader(SimpleNamespace(), log)  # type: ignore[arg-type]
    assert reader.after(10, 100) == []
    now[0] += patience * 0.99
    assert reader.after(10, 100) == []
    assert bool(settled) is (patience == 0)
    now[0] += patience * 0.02 + 0.01
    assert reader.after(10, 100) == []
    assert settled == [unapplied] * len(settled) != []
