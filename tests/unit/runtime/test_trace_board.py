"""Where workers learn which traces are wanted: each trace has its own filters, however long they are."""

import orjson

from kong_gevent.admin.trace import FILTERS
from kong_gevent.runtime.trace.board import SLOTS, SPEC_BYTES, TraceBoard
from kong_gevent.runtime.trace.spec import TraceSpec


def longest() -> bytes:
    """The longest filters that the Admin API takes, as they are written down: control characters need most."""
    names = dict.fromkeys(("route", "service", "consumer", "path"), "/" + "\x01" * 499)
    values, errors = FILTERS.run({**names, "status": ["5xx"] * 20, "sample": 0.123456789012345})
    assert not errors
    return orjson.dumps({name: value for name, value in values.items() if value is not None})


def test_long_filters_stay_in_their_place() -> None:
    board = TraceBoard()
    first = board.open(b'{"route":"first"}')
    second = board.open(b'{"route":"second"}')
    assert first is not None
    assert second is not None
    board.close(*first)
    spec = longest()
    assert board.open(spec) is not None
    assert [found for _, _, found in board.active()] == [spec, b'{"route":"second"}']
    assert all(TraceSpec(found) for _, _, found in board.active())


def test_also_in_the_last_place() -> None:
    board = TraceBoard()
    spec = longest().ljust(SPEC_BYTES)
    assert [board.open(spec) is not None for _ in range(SLOTS)] == [True] * SLOTS
    assert [found for _, _, found in board.active()] == [spec] * SLOTS
    assert board.open(spec) is None
