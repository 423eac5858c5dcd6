"""The servers that the tests use are real, of their own, and do what the tests need of them."""

import ssl
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from kong_gevent.devtools import cql
from tests.servers.cassandra import Cassandra
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.wire import wait_until


def test_cassandra_serves_a_keyspace_of_the_module(cassandra: Cassandra, cassandra_keyspace: str) -> None:
    cassandra.execute(
        f"CREATE TABLE {cassandra_keyspace}.t (k text PRIMARY KEY, v int, n text)",
        f"INSERT INTO {cassandra_keyspace}.t (k, v) VALUES ('a', 7)",
    )
    assert cassandra.execute(f"SELECT k, v, n FROM {cassandra_keyspace}.t") == [[b"a", b"\0\0\0\7", None]]
    assert cassandra.execute("SELECT release_version FROM system.local")[0][0].startswith(b"5.0.")


def test_cassandra_says_what_is_wrong_with_a_statement(cassandra: Cassandra) -> None:
    with pytest.raises(cql.CqlError, match="keyspace nowhere does not exist"):
        cassandra.execute("SELECT * FROM nowhere.t")


def test_a_killed_node_comes_back_with_everything_it_acknowledged(make_cassandra: Callable[..., Cassandra]) -> None:
    cluster = make_cassandra()
    keyspace = cluster.create_keyspace()
    cluster.execute(f"CREATE TABLE {keyspace}.t (k int PRIMARY KEY)")
    with cluster.session() as session:
        for number in range(50):
            session.run(f"INSERT INTO {keyspace}.t (k) VALUES ({number}){' IF NOT EXISTS' if number % 2 else ''}")
    (node,) = cluster.nodes
    node.kill()
    assert node.pid is None
    with pytest.raises(OSError):
        cluster.session()
    cluster.up()
    assert len(cluster.execute(f"SELECT k FROM {keyspace}.t")) == 50
    node.pause()
    assert not cql.answers(node.address, cluster.port)
    node.resume()
    assert cql.answers(node.address, cluster.port)
    node.stop()
    assert node.pid is None


def test_data_centres_with_roles_and_certificates(make_cassandra: Callable[..., Cassandra]) -> None:
    cluster = make_cassandra(data_centers={"east": 1, "west": 1}, auth=True, tls="mutual")
    assert [node.address for node in cluster.nodes_of("west")] == cluster.addresses[1:]
    centers = cluster.execute("SELECT data_center FROM system.local") + cluster.execute(
        "SELECT data_center FROM system.peers"
    )
    assert centers == [[b"east"], [b"west"]]
    keyspace = cluster.create_keyspace()
    cluster.create_role("gateway", "secret", keyspace)
    assert cluster.settings(keyspace, "west")["KONG_CASSANDRA_CONTACT_POINTS"] == cluster.addresses[1]

    def as_role(password: str) -> cql.Session:
        return cluster.session("gateway", password)

    with as_role("secret") as session:
        session.run(f"CREATE TABLE {keyspace}.t (k int PRIMARY KEY)")
        with pytest.raises(cql.CqlError, match="no CREATE permission"):
            session.run(f"CREATE KEYSPACE other WITH replication = {cluster.replication()}")
    with pytest.raises(cql.CqlError, match="incorrect"):
        as_role("wrong").close()
    with pytest.raises(OSError):
        cql.Session(cluster.addresses[0], cluster.port).close()
    assert cluster.certificates
    trusting = ssl.create_default_context(cafile=str(cluster.certificates.ca))
    with cql.connect(cluster.addresses[0], cluster.port, 10) as plain, pytest.raises(OSError):
        with trusting.wrap_socket(plain, server_hostname=cluster.addresses[0]) as without_certificate:
            without_certificate.sendall(b"\x04\0\0\0\x05\0\0\0\0")
            assert without_certificate.recv(9) == b"", "a client without a certificate was served"
            raise ConnectionResetError


def test_postgres_has_a_database_of_the_module(postgres: Postgres, postgres_database: str) -> None:
    with postgres.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE t (k int)")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.connect(postgres_database, password="wrong")
    assert postgres.settings(postgres_database)["KONG_PG_PORT"] == str(postgres.port)


def test_postgres_survives_being_killed_and_stops_while_clients_are_connected(
    make_postgres: Callable[..., Postgres],
) -> None:
    server = make_postgres()
    server.create_database("kept")
    pid = server.pid
    client = server.connect("kept")
    server.kill()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    client.close()
    server.start()
    with server.connect("kept") as other:
        server.pause()
        assert not server.ready()
        server.resume()
        assert server.ready()
        server.restart()
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_postgres_over_tls_only(make_postgres: Callable[..., Postgres]) -> None:
    server = make_postgres(tls="only")
    with pytest.raises(psycopg.OperationalError, match="no pg_hba.conf entry"):
        server.connect(sslmode="disable")
    with server.connect(sslmode="verify-full", sslrootcert=str(server.certificates.ca)) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_a_postgres_replica_follows_and_refuses_writes(make_postgres: Callable[..., Postgres]) -> None:
    primary = make_postgres()
    replica = make_postgres(primary=primary)
    with primary.connect() as connection:
        connection.execute("CREATE TABLE t (k int)")
    with replica.connect() as reader:
        wait_until(lambda: reader.execute("SELECT to_regclass('t')").fetchone() != (None,))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("INSERT INTO t VALUES (1)")
    assert replica.settings("d", "KONG_PG_RO")["KONG_PG_RO_PORT"] == str(replica.port)


def client_of(server: Redis, **options: object) -> redis_client.Redis:
    return redis_client.Redis(host=server.address, port=server.port, **options)  # type: ignore[call-overload, no-any-return]


def test_redis_serves_and_comes_back_empty(redis: Redis, make_redis: Callable[..., Redis]) -> None:
    with client_of(redis) as client:
        assert client.incr("tests:servers") == 1
        client.delete("tests:servers")
    server = make_redis()
    assert server.port != redis.port
    with client_of(server) as client:
        client.set("k", "v")
        server.kill()
        with pytest.raises(redis_client.ConnectionError):
            client.get("k")
        server.start()
        assert client.get("k") is None


def test_redis_with_passwords_users_and_tls(make_redis: Callable[..., Redis]) -> None:
    server = make_redis(password="main", users=["limits on >secret ~limits:* +@all"], tls=True)
    tls = {"ssl": True, "ssl_ca_certs": str(server.certificates.ca)}
    with client_of(server, password="main", **tls) as client:
        assert client.ping()
    with client_of(server, username="limits", password="secret", **tls) as client:
        assert client.incr("limits:a") == 1
        with pytest.raises(redis_client.ResponseError, match="(?i)no permissions|NOPERM"):
            client.incr("other")
    with client_of(server, password="wrong", **tls) as client, pytest.raises(redis_client.AuthenticationError):
        client.ping()
