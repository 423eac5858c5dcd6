"""A node alone that goes away and comes back: calls fail at once meanwhile, and it is used again when it answers."""

import time
from collections.abc import Callable

import pytest

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.errors import StoreUnavailable
from tests.cassandra.support import Program, options_for, session_for, wait_until
from tests.servers.cassandra import Cassandra

PATIENCE = 10.0
"""Seconds for being used again once it answers: far less than the driver's own policy of reconnection would take."""


@pytest.fixture(scope="module")
def node(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    return make_cassandra()


@pytest.fixture
def options(node: Cassandra) -> CassandraOptions:
    node.up()
    node.drop_keyspace("outages")
    node.create_keyspace("outages")
    return options_for(node, "outages", timeout=5.0)


def test_on_greenlets_calls_fail_at_once_and_recover(node: Cassandra, options: CassandraOptions) -> None:
    with Program("outage", options) as program:
        assert program.line()[0] == "up"
        node.nodes[0].kill()
        state, _ = program.line()
        assert state.startswith("down: ")
        if "no Cassandra node answers" not in state:  # the one call in flight heard of the lost connection
            state, _ = program.line()
        assert state == f"down: no Cassandra node answers (contact points {node.addresses[0]}:{node.port})"
        time.sleep(8)  # long enough for a policy that backs off to be far behind
        node.up()
        begin = time.monotonic()
        state, longest = program.line()
        assert state == "up"
        assert time.monotonic() - begin < PATIENCE
        assert longest < 2.5  # no call waited for a node that was known to be away
        program.say("end")
        assert program.result()[0] == "up"


def test_on_threads_calls_fail_at_once_and_recover(node: Cassandra, options: CassandraOptions) -> None:
    with session_for(options) as session:
        session.run("SELECT key FROM system.local")
        node.nodes[0].kill()
        wait_until(lambda: failure(session).startswith("no Cassandra node answers"), "down")
        begin = time.monotonic()
        for _ in range(20):
            failure(session)
        assert time.monotonic() - begin < 5
        node.up()
        assert wait_until(lambda: session.run("SELECT key FROM system.local"), "up") < PATIENCE


def test_a_node_that_was_away_from_the_start(node: Cassandra, options: CassandraOptions) -> None:
    node.nodes[0].kill()
    with Program("outage", options) as program:
        state, _ = program.line()
        assert state.startswith("down: cannot reach Cassandra at ") and "nothing listens there" in state
        node.up()
        begin = time.monotonic()
        states = []
        while not states or states[-1][0] != "up":
            states.append(program.line())  # on its way up it may say several things
        assert time.monotonic() - begin < PATIENCE
        program.say("end")
        program.result()


def test_prepared_statements_survive_a_restart(node: Cassandra, options: CassandraOptions) -> None:
    with Program("steady", options, greenlets=5) as program, session_for(options) as session:
        session.run("CREATE TABLE things (name text PRIMARY KEY, body blob)", level="ddl")
        assert program.line() == "ready"
        node.nodes[0].stop()
        node.up()
        insert = "INSERT INTO things (name, body) VALUES ('x', 0x01)"
        wait_until(lambda: session.run(insert, level="write") == [], "written to")

        def more() -> bool:
            program.say("count")
            before = program.line()["right"]
            time.sleep(0.1)
            program.say("count")
            return bool(program.line()["right"] > before)

        wait_until(more, "in use again")
        program.say("end")
        assert "wrong" not in program.result()


def test_a_node_that_is_frozen_is_an_error_in_bounded_time(node: Cassandra, options: CassandraOptions) -> None:
    with session_for(options) as session:
        session.run("SELECT key FROM system.local")
        node.nodes[0].pause()
        try:
            begin = time.monotonic()
            assert failure(session) == "Cassandra did not answer in time"
            assert time.monotonic() - begin < 3 * options.timeout
            with session_for(options) as second:
                line = failure(second)
            assert line.startswith("cannot use Cassandra at") and "it accepts connections but does not answer" in line
        finally:
            node.nodes[0].resume()
        wait_until(lambda: session.run("SELECT key FROM system.local"), "up")


def failure(session: CassandraSession) -> str:
    """The line that a read fails with; empty when it does not."""
    try:
        session.run("SELECT key FROM system.local")
    except StoreUnavailable as error:
        return str(error)
    return ""
