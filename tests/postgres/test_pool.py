"""Connections: cooperative, bounded, opened late, given up quickly and back soon."""

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from tests.postgres.support import eventually, open_on, process, settings_for
from tests.servers.postgres import Postgres

SLEEP = "SELECT pg_sleep(0.5)"
PARALLEL = """
started = time.monotonic()
query = f"SELECT pg_sleep({given.get('sleep', 0.5)})"
jobs = [gevent.spawn(store.strategy._fetch, query, ()) for _ in range(given["jobs"])]
ticks = 0
while not all(job.ready() for job in jobs):
    gevent.sleep(0.01)
    ticks += 1
gevent.joinall(jobs)
say(time.monotonic() - started, ticks, [str(job.exception) for job in jobs if job.exception])
"""
LOAD = """
store.dao("consumers").insert({"username": "known"})
outcomes = []
def read():
    while not stop:
        began = time.monotonic()
        try:
            found = store.dao("consumers").select_by("username", "known")
            outcomes.append(("ok" if found else "missing", began, time.monotonic()))
        except errors.StoreUnavailable as error:
            outcomes.append((str(error), began, time.monotonic()))
        gevent.sleep(0.01)
stop = []
readers = [gevent.spawn(read) for _ in range(10)]
gevent.sleep(0.5)
say("running")
while not any(kind != "ok" and given["reason"] in kind for kind, *_ in outcomes):
    gevent.sleep(0.01)
say("failing")
told()
back = time.monotonic()
while outcomes[-1][0] != "ok" or outcomes[-1][1] < back:
    gevent.sleep(0.01)
    if time.monotonic() > back + 30:
        break
gevent.sleep(0.5)
stop.append(1)
gevent.joinall(readers, raise_error=True)
store.dao("consumers").insert({"username": "more"})
kinds = sorted({kind for kind, *_ in outcomes})
say(kinds, max(end - began for _, began, end in outcomes), outcomes[-1][0])
"""


def test_ten_queries_of_one_process_run_at_once(settings: dict[str, Any]) -> None:
    with process(settings, PARALLEL, jobs=10, sleep=3) as child:
        seconds, ticks, failures = child.finish()[0]
    assert failures == []
    assert seconds < 10 * 3 / 2, "they ran one after the other"
    assert ticks > 10, "other greenlets did not run meanwhile"


def test_more_calls_than_connections_take_turns(settings: dict[str, Any]) -> None:
    with process({**settings, "pg_pool_size": 2}, PARALLEL, jobs=4) as child:
        seconds, _, failures = child.finish()[0]
    assert failures == []
    assert seconds > 0.95


def test_fewer_concurrent_queries_than_connections(settings: dict[str, Any]) -> None:
    with process({**settings, "pg_pool_size": 5, "pg_max_concurrent_queries": 1}, PARALLEL, jobs=2) as child:
        assert child.finish()[0][0] > 0.95


def test_who_waits_too_long_for_a_connection_is_told(settings: dict[str, Any]) -> None:
    own = {**settings, "pg_pool_size": 1, "pg_semaphore_timeout": 100}
    with process(own, PARALLEL, jobs=2) as child:
        _, _, failures = child.finish()[0]
    (text,) = failures
    assert text.startswith("all 1 connections to PostgreSQL at 127.0.0.1:")
    assert text.endswith(" are busy and none got free within 0.1 s; raise pg_pool_size")


def test_who_would_be_one_too_many_to_wait_is_told_at_once(settings: dict[str, Any]) -> None:
    with process({**settings, "pg_pool_size": 1, "pg_backlog": 1}, PARALLEL, jobs=3) as child:
        _, _, failures = child.finish()[0]
    (text,) = failures
    assert text.endswith(" are busy and 1 calls wait already (pg_backlog); raise pg_pool_size")


def test_nothing_is_opened_before_it_is_used(store: Store, postgres: Postgres) -> None:
    made = open_on(**settings_for(postgres, "nothing_of_that_name"))
    made.close()
    with pytest.raises(errors.StoreMisconfigured):
        made.strategy.ping()


def test_a_forked_process_opens_connections_of_its_own(store: Store) -> None:
    store.dao("consumers").insert({"username": "a"})
    (mine,) = store.strategy._fetch("SELECT pg_backend_pid()", ())[0]  # type: ignore[attr-defined]
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        try:
            (other,) = store.strategy._fetch("SELECT pg_backend_pid()", ())[0]  # type: ignore[attr-defined]
            found = store.dao("consumers").select_by("username", "a")
            store.close()
            gc.collect()
            os.write(sink, f"{other} {bool(found)}".encode())
        finally:
            os._exit(0)
    os.close(sink)
    with os.fdopen(source) as said:
        other, found = said.read().split()
    os.waitpid(child, 0)
    assert (int(other) != mine, found) == (True, "True")
    assert store.strategy._fetch("SELECT pg_backend_pid()", ()) == [(mine,)]  # type: ignore[attr-defined]


def test_idle_connections_are_closed_in_time(settings: dict[str, Any], postgres: Postgres) -> None:
    name = "idle-test"
    code = f"""
store.strategy._pool.run(lambda connection: connection.execute("SET application_name = '{name}'"))
say("there"); told()
"""
    with process({**settings, "pg_keepalive_timeout": 300}, code) as child, postgres.connect() as connection:
        assert child.hear() == ["there"]
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        assert connection.execute(query, (name,)).fetchone() == (1,)
        eventually(lambda: connection.execute(query, (name,)).fetchone() == (0,))


def test_a_statement_that_takes_too_long_ends(settings: dict[str, Any]) -> None:
    with process({**settings, "pg_timeout": 2000}, PARALLEL, jobs=1, sleep=60) as child:
        seconds, _, failures = child.finish()[0]
    (text,) = failures
    assert text.startswith("PostgreSQL at 127.0.0.1:")
    assert text.endswith(" did not answer a statement within 2 s (pg_timeout)")
    assert seconds < 30


def test_a_greenlet_killed_in_the_middle_takes_no_connection_along(settings: dict[str, Any]) -> None:
    code = f"""
for _ in range(6):
    job = gevent.spawn(store.strategy._fetch, "{SLEEP}", ())
    gevent.sleep(0.05)
    job.kill()
    with gevent.Timeout(0.05, False):
        store.strategy._fetch("{SLEEP}", ())
say(store.strategy._fetch("SELECT 41 + 1", ()))
"""
    own = {**settings, "pg_pool_size": 2, "pg_semaphore_timeout": 5000}
    with process(own, code) as child:
        assert child.finish() == [[[[42]]]]


@pytest.fixture(scope="module")
def mortal(make_postgres: Callable[..., Postgres]) -> Postgres:
    """A server that tests may stop."""
    return make_postgres()


@pytest.fixture
def mortal_settings(mortal: Postgres) -> dict[str, Any]:
    name = mortal.fresh_name()
    mortal.create_database(name)
    own = settings_for(mortal, name)
    made = open_on(**own)
    made.migrations.bootstrap()
    made.close()
    return own


def test_a_server_restarted_under_load_is_used_again_soon(mortal: Postgres, mortal_settings: dict[str, Any]) -> None:
    with process({**mortal_settings, "pg_timeout": 120_000}, LOAD, reason="nothing listens there") as child:
        assert child.hear() == ["running"]
        mortal.stop()
        assert child.hear() == ["failing"]
        mortal.start()
        child.tell()
        kinds, slowest, last = child.hear()
    assert last == "ok"
    assert "missing" not in kinds
    assert all(kind == "ok" or kind.startswith("cannot use PostgreSQL at ") for kind in kinds), kinds
    assert slowest < 60, "a call waited for its time to be over, when nobody was there"


def test_a_server_that_crashed_and_recovered_is_used_again(mortal: Postgres, mortal_settings: dict[str, Any]) -> None:
    with process({**mortal_settings, "pg_timeout": 120_000}, LOAD, reason="") as child:
        assert child.hear() == ["running"]
        mortal.kill()
        assert child.hear() == ["failing"]
        mortal.start()
        child.tell()
        kinds, _, last = child.hear()
    assert (last, "missing" in kinds) == ("ok", False)


def test_a_server_that_stands_still_fails_calls_in_time(mortal: Postgres, mortal_settings: dict[str, Any]) -> None:
    with process({**mortal_settings, "pg_timeout": 2000}, LOAD, reason="within 2 s") as child:
        assert child.hear() == ["running"]
        mortal.pause()
        try:
            assert child.hear() == ["failing"]
        finally:
            mortal.resume()
        child.tell()
        kinds, _, last = child.hear()
    assert (last, "missing" in kinds) == ("ok", False)
    said = ("did not answer a statement within 2 s", "no answer within 2 s")
    assert any(text in kind for kind in kinds for text in said), kinds
