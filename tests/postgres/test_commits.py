"""Commits under contention, interruption and doubt: nothing lost, nothing doubled, events in order without gaps."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.base import Change, Delete, Index, Put, Stale
from kong_gevent.db.strategies.postgres.strategy import PostgresStrategy
from tests.postgres.support import Cutter, eventually, open_on, process
from tests.servers.postgres import Postgres

WRITERS = """
def outcome(number):
    try:
        store.dao("consumers").insert({"username": f"n{number % 10}", "custom_id": f"{os.getpid()}-{number}"})
    except errors.UniqueViolation:
        return "refused"
    return "stored"
say("ready")
told()
jobs = [gevent.spawn(outcome, number) for number in range(given["writers"])]
gevent.joinall(jobs, raise_error=True)
say(*[job.value for job in jobs])
"""
MANY = """
dao = store.dao("consumers")
def write(worker):
    made = []
    for number in range(given["rounds"]):
        made.append(dao.insert({"username": f"{os.getpid()}-{worker}-{number}"})["id"])
        try:
            dao.insert({"username": "everybody"})
        except errors.UniqueViolation:
            pass
        if number % 3 == 0:
            dao.update(made[-1], {"tags": ["changed"]})
        if number % 5 == 0:
            dao.delete(made.pop(0))
gevent.joinall([gevent.spawn(write, worker) for worker in range(4)], raise_error=True)
say("done")
"""
HANG = """
from kong_gevent.db.strategies.postgres import commit
if given["step"] == "judging":
    real = commit.Judge.apply
    def apply(self, operations):
        real(self, operations)
        say("here"); time.sleep(600)
    commit.Judge.apply = apply
else:
    real = commit.run_script
    def run_script(connection, script):
        if script[-1][0] != "COMMIT":
            return real(connection, script)
        real(connection, script[:-1])
        say("here"); time.sleep(600)
    commit.run_script = run_script
store.dao("consumers").insert({"username": "half"})
"""

GIVEN_UP = """
dao, line = store.dao("consumers"), store.strategy._writer._line()
line.turn.acquire()
waiting = gevent.spawn(dao.insert, {"username": "given up"})
while not line.waiting:
    gevent.sleep(0.01)
waiting.kill()
line.turn.release()
dao.insert({"username": "later"})
say(*sorted(found["username"] for found in dao.each()))
"""


def usernames(store: Store) -> list[str]:
    return sorted(found["username"] for found in store.dao("consumers").each())


def test_of_twenty_writers_in_two_processes_one_wins_each_name(store: Store, settings: dict[str, Any]) -> None:
    with process(settings, WRITERS, writers=100) as one, process(settings, WRITERS, writers=100) as other:
        assert one.hear() == other.hear() == ["ready"]
        one.tell()
        other.tell()
        results = [outcome for child in (one, other) for outcome in child.finish()[0]]
    assert (results.count("stored"), results.count("refused")) == (10, 190)
    assert usernames(store) == [f"n{number}" for number in range(10)]
    assert [event.id for event in store.events_after(0)] == list(range(1, 11))


def test_a_reader_that_polls_sees_every_event_once_and_in_order(store: Store, settings: dict[str, Any]) -> None:
    store.dao("consumers").insert({"username": "everybody"})
    seen: list[int] = []
    written: list[tuple[str, str]] = []
    with process(settings, MANY, rounds=40) as one, process(settings, MANY, rounds=40) as other:
        running = [one, other]
        while running:
            running = [child for child in running if child.process.poll() is None]
            events = store.events_after(seen[-1] if seen else 0, 7)
            seen += [event.id for event in events]
            written += [(event.op, event.key) for event in events]
        assert one.finish() == other.finish() == [["done"]]
    while events := store.events_after(seen[-1], 1000):
        seen += [event.id for event in events]
        written += [(event.op, event.key) for event in events]
    assert seen == list(range(1, 1 + 1 + 2 * 4 * (40 + 14 + 8)))
    assert len(set(written)) == len(written)
    left = {key for op, key in written if op == "create"} - {key for op, key in written if op == "delete"}
    assert left == {found["id"] for found in store.dao("consumers").each()}


@pytest.mark.parametrize("step", ["judging", "written"])
def test_a_writer_killed_in_its_transaction_leaves_nothing(store: Store, settings: dict[str, Any], step: str) -> None:
    store.dao("consumers").insert({"username": "before"})
    with process(settings, HANG, step=step) as child:
        assert child.hear() == ["here"]
        child.process.kill()
        store.dao("consumers").insert({"username": "after"})
    assert usernames(store) == ["after", "before"]
    assert [event.id for event in store.events_after(0)] == [1, 2]
    assert store.dao("consumers").insert({"username": "half"})


@pytest.mark.parametrize("step", ["judging", "written"])
def test_a_writer_that_stands_still_does_not_hold_up_the_others_for_good(
    store: Store, settings: dict[str, Any], step: str
) -> None:
    code = "from kong_gevent.db.strategies.postgres import connection; connection._IDLE_IN_TRANSACTION = 0.5\n" + HANG
    with process(settings, code, step=step) as child:
        assert child.hear() == ["here"]
        child.process.send_signal(signal.SIGSTOP)
        store.dao("consumers").insert({"username": "after"})
        assert usernames(store) == ["after"]
        assert [event.id for event in store.events_after(0)] == [1]


def test_writers_of_one_process_share_a_transaction(store: Store, settings: dict[str, Any]) -> None:
    code = """
jobs = [gevent.spawn(store.dao("consumers").insert, {"username": f"u{number % 90}"}) for number in range(100)]
gevent.joinall(jobs)
say([type(job.exception).__name__ for job in jobs if job.exception], sum(job.successful() for job in jobs))
"""
    with process(settings, code) as child:
        refused, stored = child.finish()[0]
    assert (refused, stored) == (["UniqueViolation"] * 10, 90)
    assert len(usernames(store)) == 90
    (transactions,) = store.strategy._fetch("SELECT count(DISTINCT txn) FROM events", ())[0]  # type: ignore[attr-defined]
    assert transactions < 45


def test_a_writer_that_is_ended_while_it_waits_is_not_served_later(store: Store, settings: dict[str, Any]) -> None:
    with process(settings, GIVEN_UP) as child:
        assert child.finish() == [["later"]]


def test_a_commit_that_is_refused_takes_no_other_along(strategy: PostgresStrategy) -> None:
    line = strategy._writer._line()
    good = [put("a", name="x"), put("c", name="z", parent="a")]
    bad = [put("b", name="fresh"), put("d", name="x")]
    requests = [request(strategy, operations) for operations in (good, bad, [put("e", name="fresh")])]
    line.waiting += requests[:-1]
    strategy.commit([put("f", name="last", parent="c")], [Change("t", "f", "create")])
    assert [type(entry.error).__name__ for entry in requests[:-1]] == ["NoneType", "Duplicate"]
    assert [row.id for row in strategy.page("t", None, 10)] == ["a", "c", "f"]
    assert strategy.find("t", "name", "fresh") is None


def test_commits_of_a_group_see_each_other(strategy: PostgresStrategy) -> None:
    strategy.commit([put("a", name="x")], [Change("t", "a", "create")])
    row = strategy.read("t", "a")
    assert row is not None
    steps = [
        [Delete("t", "a", row.version)],
        [Delete("t", "a", row.version)],
        [put("b", name="x")],
        [put("b", name="x")],
        [put("c", name="y", parent="a")],
        [put("c", name="y", parent="b")],
    ]
    requests = [request(strategy, operations) for operations in steps]
    strategy._writer._line().waiting += requests
    strategy.commit([put("d", name="w")], [Change("t", "d", "create")])
    outcomes = [type(entry.error).__name__ for entry in requests]
    assert outcomes == ["NoneType", "Stale", "NoneType", "Exists", "MissingParent", "NoneType"]
    assert [found.id for found in strategy.page("t", None, 10)] == ["b", "c", "d"]
    assert [child.id for child in strategy.children(("t", "b"), "t", "parent", None, 10)] == ["c"]
    (transactions,) = strategy._fetch("SELECT count(DISTINCT txn) FROM events WHERE id > 1", ())[0]
    assert transactions == 1


def put(key: str, name: str, parent: str | None = None) -> Put:
    parents = (("parent", "t", parent),) if parent else ()
    return Put("t", key, b"{}", Index((("name", name),), parents, ("tag",)))


def request(strategy: PostgresStrategy, operations: list[Any]) -> Any:
    from kong_gevent.db.strategies.postgres.commit import _Request

    return _Request(operations, [Change("t", operations[0].id, "create")], "")


def test_versions_never_come_again(strategy: PostgresStrategy) -> None:
    versions = []
    for _ in range(3):
        strategy.commit([put("a", name="x")], [Change("t", "a", "create")])
        row = strategy.read("t", "a")
        assert row is not None
        versions.append(row.version)
        with pytest.raises(Stale):
            strategy.commit([Delete("t", "a", row.version - 1)], [])
        strategy.commit([Delete("t", "a", row.version)], [Change("t", "a", "delete")])
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_others_were_in_the_way_of_is_tried_again(store: Store, state: str) -> None:
    run_sql(
        store,
        f"""
        CREATE SEQUENCE tries;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '{state}'; END IF; RETURN NEW;
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail();
        """,
    )
    store.dao("consumers").insert({"username": "a"})
    assert [event.id for event in store.events_after(0)] == [1]
    run_sql(store, "ALTER SEQUENCE tries RESTART INCREMENT BY -1 MINVALUE -1000 MAXVALUE 2")
    with pytest.raises(errors.StoreUnavailable, match="in the way"):
        store.dao("consumers").insert({"username": "b"})
    assert usernames(store) == ["a"]


def test_an_event_that_was_replaced_is_noticed(store: Store) -> None:
    """After a fail-over that lost commits: others have taken the numbers of their events by the time of the look."""
    looks: tuple[Callable[[], int], ...] = (store.last_event_id, lambda: store.events_after(0)[-1].id)
    for number, look in enumerate(looks):
        store.dao("consumers").insert({"username": f"{number} first"})
        cursor = look()
        assert store.events_after(cursor) == []
        run_sql(store, f"UPDATE events SET txn = md5('another')::uuid WHERE id = {cursor}")
        store.dao("consumers").insert({"username": f"{number} later"})
        with pytest.raises(errors.EventsLost, match="was replaced"):
            store.events_after(cursor)
        assert store.events_after(store.last_event_id()) == []


def test_a_failing_statement_leaves_nothing_and_the_connection_usable(store: Store) -> None:
    run_sql(store, "ALTER TABLE tags ADD CONSTRAINT no_x CHECK (tag <> 'x')")
    with pytest.raises(errors.DatabaseError, match="refused a statement: .*no_x") as caught:
        store.dao("consumers").insert({"username": "a", "tags": ["x"]})
    assert not isinstance(caught.value, errors.StoreUnavailable)
    store.dao("consumers").insert({"username": "a"})
    assert [event.id for event in store.events_after(0)] == [1]


def run_sql(store: Store, text: str) -> None:
    store.strategy._pool.run(lambda connection: connection.execute(text.encode()))  # type: ignore[attr-defined]


@pytest.fixture
def cut_store(postgres: Postgres, store: Store, settings: dict[str, Any]) -> Any:
    """A store behind a proxy, and the proxy."""
    with Cutter(postgres) as cutter:
        behind = open_on(**{**settings, "pg_port": str(cutter.port), "pg_timeout": 2000})
        behind.connect()
        yield behind, cutter
        behind.close()


def test_a_commit_whose_answer_was_lost_counts_once(cut_store: tuple[Store, Cutter], store: Store) -> None:
    behind, cutter = cut_store
    cutter.when, cutter.after = b"; COMMIT\0", True
    made = behind.dao("consumers").insert({"username": "a"})
    assert cutter.cuts == 1
    assert store.dao("consumers").select(made["id"]) == made
    assert [event.id for event in store.events_after(0)] == [1]
    assert len(store.strategy._fetch("SELECT DISTINCT txn FROM events", ())) == 1  # type: ignore[attr-defined]


def test_a_commit_that_never_arrived_is_sent_again(cut_store: tuple[Store, Cutter], store: Store) -> None:
    behind, cutter = cut_store
    cutter.when, cutter.after = b"; COMMIT\0", False
    made = behind.dao("consumers").insert({"username": "a"})
    assert cutter.cuts == 1
    assert store.dao("consumers").select(made["id"]) == made
    assert [event.id for event in store.events_after(0)] == [1]


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_nobody_can_be_asked_about_is_unknown(
    cut_store: tuple[Store, Cutter], store: Store, arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kong_gevent.db.strategies.postgres.commit._SETTLE_SECONDS", 1.0)
    behind, cutter = cut_store
    cutter.when, cutter.after, cutter.closing = b"; COMMIT\0", arrived, True
    with pytest.raises(errors.OutcomeUnknown, match="whether a write was stored is not known: ") as caught:
        behind.dao("consumers").insert({"username": "a"})
    assert caught.value.status == 503
    assert usernames(store) == (["a"] if arrived else [])


@pytest.mark.parametrize("words", [b"FOR UPDATE", b"INTO events"])
def test_a_connection_lost_before_the_commit_costs_nothing(
    cut_store: tuple[Store, Cutter], store: Store, words: bytes
) -> None:
    behind, cutter = cut_store
    cutter.when, cutter.after = words, False
    behind.dao("consumers").insert({"username": "a"})
    assert (cutter.cuts, usernames(store)) == (1, ["a"])
    assert [event.id for event in store.events_after(0)] == [1]


def test_a_transaction_that_still_runs_is_waited_for_before_it_is_judged(
    cut_store: tuple[Store, Cutter], store: Store
) -> None:
    """The connection is cut while the server is still busy with the commit: it must not be taken for lost."""
    run_sql(
        store,
        """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow();
        """,
    )
    behind, cutter = cut_store
    behind.strategy._pool.run(lambda connection: setattr(connection, "patience", 0.3))  # type: ignore[attr-defined]
    started = time.monotonic()
    behind.dao("consumers").insert({"username": "a"})
    assert time.monotonic() - started > 0.9
    assert usernames(store) == ["a"]
    assert [event.id for event in store.events_after(0)] == [1]


def test_commits_reach_the_disk_even_where_the_server_would_not_wait(
    store: Store, settings: dict[str, Any], postgres: Postgres, postgres_database: str
) -> None:
    with postgres.connect(postgres_database) as connection:
        connection.execute(f"ALTER DATABASE {postgres_database} SET synchronous_commit = off")  # type: ignore[arg-type]
    try:
        again = open_on(**settings)
        assert again.strategy._fetch("SHOW synchronous_commit", ()) == [("on",)]  # type: ignore[attr-defined]
        again.close()
    finally:
        with postgres.connect(postgres_database) as connection:
            connection.execute(f"ALTER DATABASE {postgres_database} RESET synchronous_commit")  # type: ignore[arg-type]


def test_a_backend_that_is_ended_costs_no_write_and_no_read(
    store: Store, postgres: Postgres, postgres_database: str
) -> None:
    for number in range(3):
        end_backends(postgres, postgres_database)
        store.dao("consumers").insert({"username": f"u{number}"})
        end_backends(postgres, postgres_database)
        assert store.dao("consumers").select_by("username", f"u{number}")
    assert [event.id for event in store.events_after(0)] == [1, 2, 3]


def end_backends(postgres: Postgres, database: str) -> None:
    with postgres.connect() as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        assert connection.execute(query, (database,)).fetchall()

        def gone() -> bool:
            count = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (database,))
            return count.fetchone() == (0,)

        eventually(gone)
