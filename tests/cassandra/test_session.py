"""Statements on one node, on threads and on greenlets: results, crowds, forks, and a clear line for each bad input."""

import struct
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.errors import DatabaseError, SchemaMissing, StoreMisconfigured, StoreUnavailable
from tests.cassandra import programs
from tests.cassandra.support import Relay, options_for, run_patched, session_for
from tests.servers.cassandra import Cassandra
from tests.servers.process import free_port


@pytest.fixture
def options(cassandra: Cassandra, cassandra_keyspace: str) -> CassandraOptions:
    return options_for(cassandra, cassandra_keyspace)


@pytest.fixture
def session(options: CassandraOptions) -> Iterator[CassandraSession]:
    with session_for(options) as made:
        yield made


# results

EXPECTED = {
    "read": "1",
    "near": "1",
    "first": [[True]],
    "second": False,
    "serial": "2",
    "lengths": list(range(300)),
    "none": [],
    "empty": [],
    "pages": 302,
    "paged": 302,
}


def test_each_kind_of_statement_on_greenlets(options: CassandraOptions) -> None:
    assert run_patched("statements", options) == EXPECTED


def test_each_kind_of_statement_on_threads(session: CassandraSession, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, object]] = []
    monkeypatch.setattr(programs, "say", said.append)
    programs.statements(session)
    assert said == [EXPECTED | {"first": [(True,)]}]


def test_results_longer_than_a_page_come_whole(options: CassandraOptions) -> None:
    assert run_patched("long_result", options, rows=12_000) == [True, [12_000, 12_000]]


def test_two_hundred_greenlets_at_once(options: CassandraOptions) -> None:
    assert run_patched("crowd", options, greenlets=200, rounds=20) == {"right": 4000}


def test_a_fork_in_the_middle_of_requests_harms_neither_side(options: CassandraOptions) -> None:
    assert run_patched("fork", options, rounds=300) == {"parent": 300, "child": 300, "busy": [300] * 10}


def test_a_closed_session_opens_again(session: CassandraSession) -> None:
    for _ in range(3):
        assert session.run("SELECT key FROM system.local") == [("local",)]
        session.close()
        session.close()


def test_a_changed_table_is_read_with_statements_prepared_before(session: CassandraSession) -> None:
    session.run("CREATE TABLE growing (name text PRIMARY KEY, old text)", level="ddl")
    session.run("INSERT INTO growing (name, old) VALUES ('a', 'b')", level="write")
    assert session.run("SELECT name, old FROM growing") == [("a", "b")]
    session.run("ALTER TABLE growing ADD new text", level="ddl")
    session.run("UPDATE growing SET new = ? WHERE name = ?", ("c", "a"), level="write")
    assert session.run("SELECT name, old FROM growing") == [("a", "b")]
    assert session.run("SELECT name, old, new FROM growing") == [("a", "b", "c")]


# what a statement may do wrong


@pytest.mark.parametrize(
    "cql, kind, words",
    [
        ("SELEC", DatabaseError, "Cassandra refused a statement: line 1:0 no viable alternative at input 'SELEC'"),
        ("SELECT nothing FROM system.local", DatabaseError, "Undefined column name nothing"),
        ("SELECT x FROM missing", SchemaMissing, "run 'migrations bootstrap'"),
    ],
)
def test_a_refused_statement(session: CassandraSession, cql: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        session.run(cql)
    assert type(caught.value) is kind
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_values_of_the_wrong_type_are_refused(session: CassandraSession) -> None:
    with pytest.raises(DatabaseError) as caught:
        session.run("SELECT key FROM system.local WHERE key = ?", (1,))
    assert type(caught.value) is DatabaseError


def test_a_missing_keyspace_needs_bootstrapping(cassandra: Cassandra) -> None:
    with session_for(options_for(cassandra, cassandra.fresh_name())) as session:
        session.connect(keyspace=False)
        with pytest.raises(SchemaMissing, match="needs bootstrapping: run 'migrations bootstrap'"):
            session.connect()
        with pytest.raises(SchemaMissing, match="needs bootstrapping"):
            session.run("SELECT key FROM system.local")


def test_a_keyspace_is_made_once_and_replicated_as_the_settings_say(cassandra: Cassandra) -> None:
    name = cassandra.fresh_name()
    try:
        with session_for(options_for(cassandra, name)) as session:
            session.ensure_keyspace()
            session.ensure_keyspace()
            session.connect()
            found = session.run("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?", (name,))
            assert dict(found[0][0])["dc1"] == "1"
            assert dict(found[0][0])["class"].endswith("NetworkTopologyStrategy")
    finally:
        cassandra.drop_keyspace(name)


# bad input: one line each


def refusal(options: CassandraOptions) -> StoreUnavailable:
    """What connecting says, on threads; on greenlets it must be the same."""
    with session_for(options) as session, pytest.raises(StoreUnavailable) as caught:
        session.connect()
    name, line = run_patched("answer", options)
    assert (name, line) == (type(caught.value).__name__, str(caught.value))
    assert "\n" not in line
    return caught.value


def test_nothing_listens_there(options: CassandraOptions) -> None:
    port = free_port("127.0.0.1")
    found = refusal(CassandraOptions(contact_points=("127.0.0.1", "127.0.0.2"), port=port))
    assert type(found) is StoreUnavailable
    assert str(found) == (
        f"cannot reach Cassandra at 127.0.0.1:{port}, 127.0.0.2:{port}: nothing listens there; start it, or correct "
        "cassandra_contact_points or cassandra_port"
    )


def test_a_name_that_cannot_be_resolved() -> None:
    found = refusal(CassandraOptions(contact_points=("nowhere.invalid",)))
    assert type(found) is StoreUnavailable
    assert "nowhere.invalid:9042: the name cannot be resolved" in str(found)


def test_one_bad_contact_point_among_good_ones_does_no_harm(options: CassandraOptions, cassandra: Cassandra) -> None:
    points = ("nowhere.invalid", "127.0.0.2", *options.contact_points)
    with session_for(options_for(cassandra, options.keyspace, contact_points=points)) as session:
        assert session.run("SELECT key FROM system.local") == [("local",)]


def test_tls_to_a_port_without(cassandra: Cassandra) -> None:
    found = refusal(options_for(cassandra, ssl=True))
    assert isinstance(found, StoreMisconfigured)
    assert str(found).endswith("it does not speak TLS at this port: set cassandra_ssl = off, or another port")


def test_authorities_that_cannot_be_read(cassandra: Cassandra) -> None:
    found = refusal(options_for(cassandra, ssl=True, ssl_verify=True, ssl_ca=("/nowhere/ca.pem",)))
    assert isinstance(found, StoreMisconfigured)
    assert str(found) == (
        "cannot use the certificate authorities in /nowhere/ca.pem: No such file or directory; correct cassandra_ssl_ca"
    )


def test_an_unknown_local_data_center(cassandra: Cassandra) -> None:
    found = refusal(options_for(cassandra, local_datacenter="DC1"))
    assert isinstance(found, StoreMisconfigured)
    assert "has no data centre 'DC1', only dc1: correct cassandra_local_datacenter" in str(found)


def test_a_server_that_is_too_old(cassandra: Cassandra) -> None:
    def age(data: bytes) -> bytes:
        return data.replace(b"\x00\x00\x00\x055.0.9", b"\x00\x00\x00\x053.0.9")

    with Relay(cassandra.addresses[0], cassandra.port, age) as relay:
        found = refusal(options_for(cassandra, contact_points=(relay.address,)))
    assert isinstance(found, StoreMisconfigured)
    assert str(found) == (
        f"Cassandra at {relay.address}:{cassandra.port} is version 3.0.9: version 3.11 or newer is needed"
    )


def test_a_server_without_version_4_of_the_protocol(cassandra: Cassandra) -> None:
    text = b"Invalid or unsupported protocol version (4); the lowest supported version is 1 and the greatest is 3"
    body = struct.pack(">iH", 0x0A, len(text)) + text

    def refuse(_: bytes) -> bytes:
        return struct.pack(">BBhBi", 0x83, 0, 0, 0, len(body)) + body

    with Relay(cassandra.addresses[0], cassandra.port, refuse) as relay:
        found = refusal(options_for(cassandra, contact_points=(relay.address,)))
    assert isinstance(found, StoreMisconfigured)
    assert str(found).endswith(
        "it refuses version 4 of the native protocol, so it is older than Cassandra 3.11, or no Cassandra"
    )


def test_a_server_that_is_no_cassandra(cassandra: Cassandra) -> None:
    with Relay(cassandra.addresses[0], cassandra.port, lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as relay:
        found = refusal(options_for(cassandra, contact_points=(relay.address,)))
    assert isinstance(found, StoreMisconfigured)
    assert str(found).endswith("or no Cassandra")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"repl_factor": 3}, "cassandra_repl_factor wants 3 copies, but the data centre 'dc1' has 1 node: lower it"),
        (
            {"data_centers": (("dc1", 2),)},
            "cassandra_data_centers wants 2 copies, but the data centre 'dc1' has 1 node",
        ),
        ({"data_centers": (("dc1", 1), ("x", 1))}, "cassandra_data_centers names 'x', but the cluster has only dc1"),
        ({"repl_strategy": "SimpleStrategy", "repl_factor": 2}, "wants 2 copies, but the cluster has 1 node: lower it"),
    ],
)
def test_an_impossible_replication(cassandra: Cassandra, changes: dict[str, object], words: str) -> None:
    with session_for(options_for(cassandra, cassandra.fresh_name(), **changes)) as session:
        with pytest.raises(StoreMisconfigured) as caught:
            session.ensure_keyspace()
    assert words in str(caught.value)


def test_a_keyspace_whose_replication_allows_no_quorum(cassandra: Cassandra) -> None:
    name = cassandra.fresh_name()
    cassandra.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'NetworkTopologyStrategy', 'dc1': 5}}")
    try:
        with session_for(options_for(cassandra, name)) as session, pytest.raises(StoreMisconfigured) as caught:
            session.ensure_keyspace()
        assert "wants 5 copies in the data centre 'dc1', which has 1 node: no quorum is possible" in str(caught.value)
    finally:
        cassandra.drop_keyspace(name)


def test_unavailable_replicas_are_counted(cassandra: Cassandra, cassandra_keyspace: str) -> None:
    with session_for(options_for(cassandra, cassandra_keyspace, read_consistency="THREE")) as session:
        session.run("CREATE TABLE counted (name text PRIMARY KEY)", level="ddl")
        with pytest.raises(StoreUnavailable) as caught:
            session.run("SELECT name FROM counted")
    assert str(caught.value) == (
        "Cassandra cannot serve THREE: 3 replicas are needed and 1 are alive; bring nodes back, or raise the "
        "replication of the keyspace"
    )


# options


def test_options_come_from_the_settings_by_kongs_names() -> None:
    settings = SimpleNamespace(
        cassandra_contact_points=["a", "b"], cassandra_port=9142, cassandra_keyspace="k", cassandra_username="u",
        cassandra_password="p", cassandra_ssl=True, cassandra_ssl_verify=True, cassandra_ssl_ca="ssl/ca.pem",
        cassandra_local_datacenter="dc1", cassandra_consistency="QUORUM", cassandra_read_consistency=None,
        cassandra_write_consistency="EACH_QUORUM", cassandra_serial_consistency="SERIAL",
        cassandra_repl_strategy="NetworkTopologyStrategy", cassandra_repl_factor=2,
        cassandra_data_centers=["dc1:2", "dc2:3"], cassandra_timeout=2500, cassandra_schema_consensus_timeout=3000,
        path=lambda name: f"/prefix/{name}", lua_ssl_trusted_certificate=["/unused.pem"],
    )  # fmt: skip
    assert CassandraOptions.from_settings(settings) == CassandraOptions(
        contact_points=("a", "b"), port=9142, keyspace="k", username="u", password="p", ssl=True, ssl_verify=True,
        ssl_ca=("/prefix/ssl/ca.pem",), local_datacenter="dc1", read_consistency="QUORUM",
        write_consistency="EACH_QUORUM", serial_consistency="SERIAL", repl_factor=2,
        data_centers=(("dc1", 2), ("dc2", 3)), timeout=2.5, schema_timeout=3.0,
    )  # fmt: skip


def test_settings_that_are_not_there_keep_the_defaults() -> None:
    assert CassandraOptions.from_settings(SimpleNamespace()) == CassandraOptions()
    found = CassandraOptions.from_settings(SimpleNamespace(lua_ssl_trusted_certificate=["system", "/more.pem"]))
    assert found.ssl_ca == ("system", "/more.pem")
