"""Three nodes, three copies, LOCAL_QUORUM: losing one costs nobody anything; losing two is said plainly."""

import time
from collections.abc import Callable, Iterator

import pytest

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.errors import StoreUnavailable
from tests.cassandra.programs import TABLE
from tests.cassandra.support import Program, options_for, run_patched, session_for, wait_until
from tests.servers.cassandra import Cassandra


@pytest.fixture(scope="module")
def cluster(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    made = make_cassandra(nodes=3)
    with session_for(options_for(made, "three", repl_factor=3)) as session:
        session.ensure_keyspace()
        session.run(TABLE, level="ddl")
    return made


@pytest.fixture
def options(cluster: Cassandra) -> Iterator[CassandraOptions]:
    cluster.up()
    yield options_for(cluster, "three")
    for node in cluster.nodes:
        node.resume()


def all_up(options: CassandraOptions) -> None:
    """Wait until the nodes see each other again."""

    def everybody_answers() -> bool:
        with session_for(options_with(options, read_consistency="ALL")) as session:
            return bool(session.run("SELECT name FROM things LIMIT 1") or True)

    wait_until(everybody_answers, "all replicas alive", 120)


def options_with(options: CassandraOptions, **changes: object) -> CassandraOptions:
    values = {name: getattr(options, name) for name in CassandraOptions.__dataclass_fields__}
    return CassandraOptions(**(values | changes))


def test_two_hundred_greenlets_on_three_nodes(options: CassandraOptions) -> None:
    assert run_patched("crowd", options, greenlets=200, rounds=10) == {"right": 2000}


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_node_costs_no_request(cluster: Cassandra, options: CassandraOptions, victim: int) -> None:
    all_up(options)
    with Program("steady", options, greenlets=24) as program:
        assert program.line() == "ready"
        time.sleep(1)
        cluster.nodes[victim].kill()
        time.sleep(3)
        more(program, 100)
        cluster.up()
        time.sleep(5)  # it is taken into use again under load
        more(program, 100)
        program.say("end")
        outcomes = program.result()
    assert set(outcomes) == {"right"}


def more(program: Program, number: int) -> None:
    """Return when so many more requests have had an answer."""

    def asked() -> int:
        program.say("count")
        return sum(program.line().values())

    before = asked()
    wait_until(lambda: asked() >= before + number, f"{number} more answers")


def test_a_frozen_node_costs_no_request(cluster: Cassandra, options: CassandraOptions) -> None:
    all_up(options)
    with Program("steady", options, greenlets=12) as program:
        assert program.line() == "ready"
        cluster.nodes[1].pause()
        time.sleep(12)  # until heartbeats have found it out, and after that
        cluster.nodes[1].resume()
        program.say("end")
        outcomes = program.result()
    assert set(outcomes) == {"right"}


def test_conditional_writes_are_never_made_twice_when_a_node_is_killed(
    cluster: Cassandra, options: CassandraOptions
) -> None:
    all_up(options)
    with Program("conditional", options) as program:
        assert program.line() == "ready"
        for victim in (0, 1):
            cluster.nodes[victim].kill()
            time.sleep(2)
            cluster.up()
            time.sleep(2)
        program.say("end")
        outcomes = program.result()
    assert outcomes["applied"] > 10
    assert not [name for name in outcomes if name.startswith(("refused", "settled as"))], outcomes


def test_without_a_quorum_calls_say_so_and_recover(cluster: Cassandra, options: CassandraOptions) -> None:
    all_up(options)
    with session_for(options) as session:
        session.run("INSERT INTO things (name, body) VALUES ('kept', 0x01)", level="write")
        for node in cluster.nodes[1:]:
            node.kill()

        def line() -> str:
            try:
                session.run("SELECT name FROM things WHERE name = 'kept'")
            except StoreUnavailable as error:
                return str(error)
            return ""

        said = "Cassandra cannot serve LOCAL_QUORUM: 2 replicas are needed and 1 are alive"
        wait_until(lambda: line().startswith(said), "unavailable")
        cluster.up()
        wait_until(lambda: session.run("SELECT name FROM things WHERE name = 'kept'"), "available")


def test_the_schema_is_agreed_when_a_change_returns(cluster: Cassandra, options: CassandraOptions) -> None:
    all_up(options)
    with session_for(options) as session:
        for number in range(5):
            session.run(f"CREATE TABLE IF NOT EXISTS agreed_{number} (name text PRIMARY KEY)", level="ddl")
            versions = set()
            for node in range(3):
                rows = cluster.execute("SELECT schema_version FROM system.local", node=node, level="ONE")
                versions.add(rows[0][0])
            assert len(versions) == 1
