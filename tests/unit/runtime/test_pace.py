"""Long work beside requests: with rests, over what chains already look at."""

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import gevent
import pytest

from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.runtime import pace


def test_rests_are_asked_for_anew_each_time() -> None:
    asked: list[float] = []

    def rest() -> float:
        asked.append(0)
        return 0

    def slow() -> None:
        end = time.monotonic() + 2 * pace.SLICE
        while time.monotonic() < end:
            pass

    for _ in pace.paced(range(3), rest):
        slow()
    assert len(asked) == 3


@pytest.mark.parametrize(
    "error", [OSError("away"), gevent.Timeout(1), gevent.GreenletExit()], ids=["error", "timeout", "exit"]
)
def test_what_is_read_ahead_does_not_end_where_reading_failed(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield from range(3 * pace.PART)
        raise error

    found = []
    with pytest.raises(type(error)):
        for item in pace.ReadAhead(items()):
            found.append(item)
    assert found == list(range(3 * pace.PART))


def test_a_chain_keeps_what_it_was_compiled_from(plugin: Callable[..., InMemoryGateway]) -> None:
    made = plugin("request-termination", status_code=418)
    table = made.sync._plan.table
    entity = next(iter(table.entities.values()))
    chain = table.compile(made.route["id"], made.service["id"])
    (step,) = (step for step in chain.steps if step.fixed is not None and step.fixed.id == entity["id"])
    consumer = {"id": str(uuid4())}
    personal = {**entity, "id": str(uuid4()), "consumer": consumer, "route": None, "service": None}
    for number in range(3):
        table.put({**personal, "id": personal["id"] if not number else str(uuid4()), "tags": [str(number)]})
    assert not step.lazy and step.choose(consumer) is step.fixed
    (later,) = table.compile(made.route["id"], made.service["id"]).steps
    assert later.lazy and later.choose(consumer) is not step.fixed
    for key in [key for key in table.entities if key != entity["id"]]:
        table.remove(key)
    (last,) = table.compile(made.route["id"], made.service["id"]).steps
    assert not last.lazy and last.fixed is not None and last.fixed.id == entity["id"]
    assert later.choose({"id": consumer["id"]}) is not step.fixed
