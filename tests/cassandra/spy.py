"""Watches which statements a store sends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kong_gevent.db import Store


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, str]]]:
    """The statements (level and text) that are sent meanwhile."""
    session: Any = store.strategy.session  # type: ignore[attr-defined]
    sent: list[tuple[str, str]] = []
    run, run_all = session.run, session.run_all

    def spy(cql: str, values: Any = (), *, level: str = "read", idempotent: bool = True) -> Any:
        sent.append((level, cql))
        return run(cql, values, level=level, idempotent=idempotent)

    def spy_all(calls: Any, *, level: str = "read", window: int = 128) -> Any:
        sent.extend((level, cql) for cql, _ in calls)
        return run_all(calls, level=level, window=window)

    session.run, session.run_all = spy, spy_all
    try:
        yield sent
    finally:
        del session.run, session.run_all


def lwts(sent: list[tuple[str, str]]) -> int:
    """How many of them were conditional writes."""
    return sum(level == "lwt" for level, _ in sent)
