"""Two data centres with a node each: the local one must be named, is kept to, and is enough when the other is lost."""

from collections.abc import Callable

import pytest

from kong_gevent.errors import StoreMisconfigured, StoreUnavailable
from tests.cassandra.programs import TABLE
from tests.cassandra.support import options_for, run_patched, session_for, wait_until
from tests.servers.cassandra import Cassandra

COPIES = (("dc1", 1), ("dc2", 1))


@pytest.fixture(scope="module")
def centers(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    made = make_cassandra(data_centers={"dc1": 1, "dc2": 1})
    with session_for(options_for(made, "both", data_centers=COPIES)) as session:
        session.ensure_keyspace()
        session.run(TABLE, level="ddl")
    return made


@pytest.mark.parametrize(
    "name, words",
    [
        (None, "has the data centres dc1, dc2: set cassandra_local_datacenter to the one beside this gateway"),
        ("dc3", "has no data centre 'dc3', only dc1, dc2: correct cassandra_local_datacenter"),
    ],
)
def test_the_local_data_center_must_be_named_rightly(centers: Cassandra, name: str | None, words: str) -> None:
    options = options_for(centers, "both", local_datacenter=name)
    with session_for(options) as session, pytest.raises(StoreMisconfigured) as caught:
        session.connect()
    assert words in str(caught.value)
    assert run_patched("answer", options) == ["StoreMisconfigured", str(caught.value)]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"repl_strategy": "SimpleStrategy"}, "SimpleStrategy cannot serve the data centres dc1, dc2"),
        ({"data_centers": (("dc2", 1),)}, "cassandra_data_centers leaves out the local data centre 'dc1'"),
        ({"data_centers": (("dc1", 1), ("dc2", 2))}, "wants 2 copies, but the data centre 'dc2' has 1 node"),
    ],
)
def test_an_impossible_replication(centers: Cassandra, changes: dict[str, object], words: str) -> None:
    with session_for(options_for(centers, "impossible", **changes)) as session:
        with pytest.raises(StoreMisconfigured) as caught:
            session.ensure_keyspace()
    assert words in str(caught.value)


def test_a_keyspace_of_the_other_data_center_only(centers: Cassandra) -> None:
    centers.execute("CREATE KEYSPACE remote WITH replication = {'class': 'NetworkTopologyStrategy', 'dc2': 1}")
    with session_for(options_for(centers, "remote")) as session, pytest.raises(StoreMisconfigured) as caught:
        session.ensure_keyspace()
    assert "the Cassandra keyspace 'remote' has no copies in the data centre 'dc1'" in str(caught.value)


def test_one_data_center_is_enough_when_the_other_is_lost(centers: Cassandra) -> None:
    local, remote = centers.nodes_of("dc1")[0], centers.nodes_of("dc2")[0]
    points = (local.address, remote.address)
    options = options_for(centers, "both", contact_points=points)
    with session_for(options) as session:
        session.connect()
        remote.kill()
        for number in range(20):
            name = f"lost {number}"
            session.run("INSERT INTO things (name, body) VALUES (?, 0x01)", (name,), level="write")
            assert session.run("SELECT name FROM things WHERE name = ?", (name,)) == [(name,)]
            lwt = session.run("UPDATE things SET body = 0x02 WHERE name = ? IF body = 0x01", (name,), level="lwt")
            assert lwt == [(True,)]
        with session_for(options) as another:
            assert another.run("SELECT name FROM things WHERE name = 'lost 1'") == [("lost 1",)]
        centers.up()

    # The other way round: this gateway must not go to the other data centre by itself.
    wait_until(lambda: centers.execute("SELECT key FROM system.local", node=1, level="ONE"), "dc2 up")
    local.kill()
    try:
        with session_for(options) as session, pytest.raises(StoreUnavailable) as caught:
            session.run("SELECT name FROM things WHERE name = 'lost 1'")
        assert "no Cassandra node of the data centre 'dc1' answers, though its cluster does" in str(caught.value)
    finally:
        centers.up()
