"""Following the store's events, and what happens when some of them are gone."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import EventsLost, StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.runtime import changes

Make = Callable[..., InMemoryGateway]


def change_everything(made: InMemoryGateway) -> dict[str, Any]:
    """Write to the store behind the gateway's back: a route and a plugin less, a route more, a service changed."""
    store = made.store
    store.dao("plugins").delete(next(store.dao("plugins").each())["id"])
    service = store.dao("services").update(made.service["id"], {"path": "/moved"})
    store.dao("routes").delete(made.route["id"])
    route: dict[str, Any] = store.dao("routes").insert({"paths": ["/new"], "service": {"id": service["id"]}})
    return route


def test_lost_events_make_it_compare_everything(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plugin("request-termination", status_code=418)
    assert made.get("/").status == 418
    change_everything(made)

    def lost(*_arguments: Any) -> None:
        raise EventsLost("gone")

    with monkeypatch.context() as patch:
        patch.setattr(made.store, "events_after", lost)
        made.sync.poll()
    assert made.get("/").status == 404
    run = made.get("/new/x")
    assert (run.status, run.upstream.target) == (200, "/moved/x")


def test_a_store_that_is_away_leaves_the_plan_as_it_is(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plugin("request-termination", status_code=418)
    change_everything(made)

    def away(*_arguments: Any) -> None:
        raise StoreUnavailable("no such disk")

    with monkeypatch.context() as patch:
        patch.setattr(made.store, "events_after", away)
        made.sync.poll()
        assert made.sync.failure is not None
        assert made.get("/").status == 418
    made.sync.poll()
    assert made.sync.failure is None
    assert made.get("/new").status == 200


def test_what_replicas_may_not_have_yet_is_looked_at_again(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `db_update_propagation`: entities of the plan, and look-ups that were read meanwhile."""
    now = [1000.0]
    monkeypatch.setattr(changes, "monotonic", lambda: now[0])
    made = plugin("key-auth")
    monkeypatch.setattr(made.sync._again, "propagation", 5.0)
    old = made.store.dao("services").select(made.service["id"])
    made.store.dao("services").update(made.service["id"], {"path": "/moved"})
    ann = made.store.dao("consumers").insert({"username": "ann"})
    made.store.dao("keyauth_credentials").insert({"key": "new", "consumer": {"id": ann["id"]}})
    with monkeypatch.context() as patch:
        patch.setattr(made.store.strategy, "find", lambda *_arguments: None)
        patch.setattr(made.sync, "_select_all", lambda keys: [(*key, old) for key in keys])
        made.sync.poll()
        assert made.get("/", headers={"apikey": "new"}).status == 401
    made.sync.poll()
    assert made.get("/", headers={"apikey": "new"}).status == 401
    now[0] += 6
    made.sync.poll()
    run = made.get("/", headers={"apikey": "new"})
    assert (run.status, run.upstream.target) == (200, "/moved")


class Together:
    """What the workers of a node share; `told` are the events that they must not answer without, and when."""

    def __init__(self) -> None:
        self.generation = 0
        self.told: list[int] = []

    def found(self, event: int) -> int:
        """See `SharedState.found`."""
        if self.told[-1:] == [event]:
            return 0
        self.told.append(event)
        self.generation += 1
        return self.generation


@pytest.mark.parametrize("written_by", ["another node", "this node"])
def test_what_is_read_later_than_its_event_is_told_to_the_other_workers(
    plugin: Make, monkeypatch: pytest.MonkeyPatch, written_by: str
) -> None:
    """A worker that serves the state of a commit whose event it has not seen would be ahead of the others."""
    made = plugin("cors")
    shared, store = Together(), made.store
    monkeypatch.setattr(made.sync, "_shared", shared)
    store.origin, this = ("another", store.origin) if written_by == "another node" else (store.origin, store.origin)
    store.dao("services").update(made.service["id"], {"path": "/1"})
    real, apply = made.sync._select_all, made.sync._plan.apply
    served: list[tuple[str, int]] = []

    def select(keys: Any) -> Any:
        if not served:
            store.dao("routes").insert({"paths": ["/with-2"], "service": made.service})
            store.dao("services").update(made.service["id"], {"path": "/2"})
        store.origin = this
        return real(keys)

    def look(kind: str, key: str, entity: Any) -> None:
        served.append((kind, shared.told[-1] if shared.told else 0))
        apply(kind, key, entity)

    monkeypatch.setattr(made.sync, "_select_all", select)
    monkeypatch.setattr(made.sync._plan, "apply", look)
    made.sync.poll()
    last = store.last_event_id()
    assert served == [("services", last), ("routes", last)]
    assert made.sync.generation == shared.generation == 1, "nothing is missing now"
    assert made.get("/with-2").upstream.target == "/2"


def test_when_too_many_wait_for_a_second_look_everything_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(changes, "monotonic", lambda: now[0])
    again = changes.SecondLooks(5.0)
    again.remember([1, 2])
    now[0] += 1
    again.remember([3])
    now[0] += 4
    assert list(again.due()) == [[1, 2]]
    again.remember([0] * changes.MAX_LATER)
    now[0] += 5
    assert list(again.due()) == []
    assert [again.everything_due(), again.everything_due()] == [True, False]
