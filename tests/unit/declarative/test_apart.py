"""What comes of a task is the same, whether it is done here or in a process of its own."""

import pickle
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from kong_gevent.db import Store, build, codec
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.declarative import apart
from kong_gevent.declarative.apart import Application, Refused, Rollback, Task
from kong_gevent.declarative.applying import Busy, Request
from kong_gevent.declarative.history import NoSuchChangeSet, RollbackRefused
from kong_gevent.declarative.posted import NothingPosted
from kong_gevent.declarative.progress import JobProgress
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable, UniqueViolation
from kong_gevent.pacing import Pacer
from kong_gevent.pdk.loader import load_plugins


def document(**content: object) -> Application:
    text = codec.dumps({"_format_version": "3.0", **content})
    return Application("json", text, Request("me", "test", prune=True, tags=["mine"]))


def referred(store: Store) -> None:
    document(services=[{"name": "a", "host": "h"}]).run(store, Pacer())
    key = next(store.dao("services").each())["id"]
    store.dao("routes").insert({"paths": ["/"], "service": {"id": key}})


def held(store: Store) -> None:
    store.strategy.lock("configuration", "somebody", 30)


def broken(store: Store) -> None:
    store.strategy.commit = Mock(side_effect=OutcomeUnknown("who knows"))  # type: ignore[method-assign]


TAKEN = document(services=[{"id": "11111111-1111-4111-8111-111111111111", "name": "a", "host": "h"}])
FAILURES: list[tuple[Callable[[Store], object], Task, type[Exception]]] = [
    (lambda store: None, Application("json", b'{"config": ""}', Request("me", "test")), NothingPosted),
    (lambda store: None, document(services=[{"name": "a"}]), Refused),
    (lambda store: None, Rollback("zz", "me"), NoSuchChangeSet),
    (referred, Rollback(None, "me"), RollbackRefused),
    (held, document(), Busy),
    (lambda store: store.dao("services").insert({"name": "a", "host": "h"}), TAKEN, UniqueViolation),
    (broken, document(services=[{"name": "a", "host": "h"}]), StoreUnavailable),
]


@pytest.mark.parametrize(("before", "task", "error"), FAILURES, ids=[error.__name__ for _, _, error in FAILURES])
def test_a_failure_is_the_same(
    before: Callable[[Store], object], task: Task, error: type[Exception], tmp_path: object
) -> None:
    told = []
    for here in (True, False):
        store = Store(MemoryStrategy(), build(load_plugins(["bundled"])))
        store.connect()
        before(store)
        with JobProgress(str(tmp_path)) as progress:
            found = b"" if here else apart.run_job(store, ("origin", task), progress)
        with pytest.raises(error) as caught:
            if here:
                task.run(store, Pacer())
            else:
                apart._result(pickle.loads(found))
        told.append(str(caught.value))
    assert told[0] == told[1]
