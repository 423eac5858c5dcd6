"""Signals: what nodes tell one another without storing it."""

from kong_gevent.db import Store


def test_a_signal_is_an_event_without_an_entity(store: Store) -> None:
    before = store.last_event_id()
    store.origin = "one"
    store.signal("log-level", "debug 60.0")
    store.dao("consumers").insert({"username": "u"})
    first, second = store.events_after(before)
    assert (first.entity, first.key, first.op, first.origin) == ("log-level", "debug 60.0", "signal", "one")
    assert second.entity == "consumers"
