"""What people read at the command line when a store is away, or when settings cannot lead to it: short, and in time."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from kong_gevent.devtools import certificates
from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.stores import Commands, Outcome, Stores
from tests.servers.cassandra import Cassandra
from tests.servers.postgres import Postgres
from tests.servers.process import free_port
from tests.wire import wait_until

HINT = "\n\n  Run with --v (verbose) or --vv (debug) for more details\n"
WAITING = re.compile(r"Waiting for the datastore, \d+ s more at most: .+")
NOBODY = re.compile("nothing listens there|refused")
COMMANDS: list[tuple[str, ...]] = [
    ("migrations", "bootstrap"),
    ("migrations", "status"),
    ("start",),
    ("config", "db_export"),
]


def only_line(outcome: Outcome) -> str:
    """The one line of an error that nobody had to wait for."""
    assert (outcome.code, outcome.out) == (1, ""), outcome
    assert outcome.err.startswith("Error: "), outcome
    assert outcome.err.endswith(HINT), outcome
    text = outcome.err.removeprefix("Error: ").removesuffix(HINT)
    assert "\n" not in text, outcome
    return text


def listeners() -> dict[str, str]:
    """Settings with addresses that nobody else has."""
    proxy, admin, status = free_ports(3)
    return {
        "KONG_PROXY_LISTEN": f"{LOOPBACK}:{proxy}",
        "KONG_ADMIN_LISTEN": f"{LOOPBACK}:{admin}",
        "KONG_STATUS_LISTEN": f"{LOOPBACK}:{status}",
        "KONG_NGINX_WORKER_PROCESSES": "1",
    }


@pytest.fixture(scope="module")
def managed(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    """A cluster like a managed one: TLS, logins, a keyspace that is there, a role that may not make another."""
    made = make_cassandra(auth=True, tls="mutual")
    made.create_keyspace("given")
    made.create_role("gateway", "secret", "given")
    return made


@pytest.fixture
def tenant(managed: Cassandra, tmp_path: Path) -> Iterator[Commands]:
    """A node of somebody who rents that cluster."""
    login = {"KONG_CASSANDRA_USERNAME": "gateway", "KONG_CASSANDRA_PASSWORD": "secret"}
    made = Commands(tmp_path / "tenant", {**managed.settings("given"), **login, **listeners()})
    yield made
    made.close()


def test_a_managed_cluster_works(tenant: Commands, tmp_path: Path) -> None:
    assert tenant.done("migrations", "bootstrap") == "Bootstrapping database...\nDatabase is up-to-date\n"
    file = tmp_path / "kong.yml"
    file.write_text("_format_version: '3.0'\nroutes: [{name: r, paths: [/], plugins: [{name: request-termination}]}]")
    tenant.done("config", "db_import", str(file))
    with Gateway(prefix=tenant.prefix, env=dict(tenant.settings)) as gateway:
        wait_until(lambda: gateway.get("/").status_code == 503)
        assert gateway.get("/").json() == {"message": "Service unavailable"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CASSANDRA_PASSWORD": "wrong"}, ["gateway", "cassandra_password"]),
        ({"CASSANDRA_USERNAME": "", "CASSANDRA_PASSWORD": ""}, ["cassandra_username"]),
        ({"CASSANDRA_LOCAL_DATACENTER": "nowhere"}, ["nowhere", "dc1", "cassandra_local_datacenter"]),
        ({"CASSANDRA_SSL": "off", "CASSANDRA_SSL_VERIFY": "off", "CASSANDRA_SSL_CA": ""}, ["TLS", "cassandra_ssl"]),
        ({"CASSANDRA_SSL_CERT": "", "CASSANDRA_SSL_CERT_KEY": ""}, ["certificate", "cassandra_ssl_cert"]),
        ({"CASSANDRA_SSL_CA": "{other}"}, ["certificate", "cassandra_ssl_ca"]),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_settings_that_cannot_work_are_one_line_at_once(
    tenant: Commands, tmp_path: Path, command: tuple[str, ...], changes: dict[str, str], words: list[str]
) -> None:
    other = certificates.make(tmp_path / "other", ["127.0.0.1"])
    settings = {f"KONG_{name}": value.format(other=other.ca) for name, value in changes.items()}
    text = only_line(tenant.run(*command, settings=settings))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CASSANDRA_KEYSPACE": "missing"}, ["missing", "keyspace", "gateway"]),
        (
            {
                "CASSANDRA_KEYSPACE": "missing", "CASSANDRA_USERNAME": "cassandra", "CASSANDRA_PASSWORD": "cassandra",
                "CASSANDRA_DATA_CENTERS": "dc1:3",
            },
            ["3", "dc1"],
        ),
        (
            {
                "CASSANDRA_KEYSPACE": "missing", "CASSANDRA_USERNAME": "cassandra", "CASSANDRA_PASSWORD": "cassandra",
                "CASSANDRA_DATA_CENTERS": "dc1:1,dc7:1",
            },
            ["dc7"],
        ),
    ],
    ids=["no right to make the keyspace", "more copies than nodes", "copies in a data centre that does not exist"],
)  # fmt: skip
def test_a_keyspace_that_cannot_be_made(tenant: Commands, changes: dict[str, str], words: list[str]) -> None:
    outcome = tenant.run("migrations", "bootstrap", settings={f"KONG_{name}": value for name, value in changes.items()})
    assert outcome.out in ("", "Bootstrapping database...\n")
    text = only_line(Outcome(outcome.code, "", outcome.err))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PG_PASSWORD": "wrong"}, ["password", "pg_password"]),
        ({"PG_USER": "nobody"}, ["nobody"]),
        ({"PG_DATABASE": "missing"}, ["missing", "pg_database"]),
        ({"PG_SSL": "on"}, ["TLS", "pg_ssl"]),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_settings_that_cannot_lead_to_postgres(
    postgres: Postgres, tmp_path: Path, command: tuple[str, ...], changes: dict[str, str], words: list[str]
) -> None:
    node = Commands(tmp_path / "node", {**postgres.settings("postgres"), **listeners()})
    settings = {f"KONG_{name}": value for name, value in changes.items()}
    text = only_line(node.run(*command, settings=settings))
    assert [word for word in words if word not in text] == []


def away(database: str) -> dict[str, str]:
    """Settings for a store where nobody listens."""
    if database == "postgres":
        return {"KONG_DATABASE": "postgres", "KONG_PG_PORT": str(free_port())}
    return {"KONG_DATABASE": "cassandra", "KONG_CASSANDRA_PORT": str(free_port())}


@pytest.mark.parametrize("database", ["postgres", "cassandra"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_store_that_is_away_is_waited_for_aloud(tmp_path: Path, database: str, command: tuple[str, ...]) -> None:
    node = Commands(tmp_path / "node", {**away(database), **listeners()})
    outcome = node.run(*command, "--db-timeout", "5")
    assert (outcome.code, outcome.out) == (1, ""), outcome
    *lines, last = outcome.err.removesuffix(HINT).splitlines()
    assert len(lines) >= 2, outcome
    for line in lines:
        assert WAITING.fullmatch(line), outcome
        assert database in line.lower(), outcome
    assert NOBODY.search(last), outcome
    assert last.startswith("Error: ")
    assert last.endswith(" (tried for 5 s)")


@pytest.mark.parametrize("database", ["postgres", "cassandra"])
def test_without_patience_a_store_that_is_away_is_one_line(tmp_path: Path, database: str) -> None:
    node = Commands(tmp_path / "node", {**away(database), **listeners()})
    for command in COMMANDS:
        assert NOBODY.search(only_line(node.run(*command, "--db-timeout", "0")))


def test_a_server_that_accepts_and_says_nothing_is_no_silent_hang(tmp_path: Path) -> None:
    import socket

    with socket.create_server((LOOPBACK, 0)) as deaf:
        port = str(deaf.getsockname()[1])
        for settings in (
            {"KONG_DATABASE": "cassandra", "KONG_CASSANDRA_PORT": port},
            {"KONG_DATABASE": "postgres", "KONG_PG_PORT": port},
        ):
            node = Commands(tmp_path / settings["KONG_DATABASE"], settings)
            outcome = node.run("migrations", "list", "--db-timeout", "3")
            assert outcome.code == 1, outcome
            *lines, last = outcome.err.removesuffix(HINT).splitlines()
            assert lines, outcome
            assert all(WAITING.fullmatch(line) for line in lines), outcome
            assert last.startswith("Error: "), outcome


@pytest.mark.parametrize(
    "database",
    [
        pytest.param("postgres", marks=pytest.mark.needs("postgres")),
        pytest.param("cassandra", marks=pytest.mark.needs("cassandra")),
    ],
)
def test_a_shared_store_is_not_made_by_a_start_unless_it_is_told_to(
    stores: Stores, database: str
) -> None:  # fmt: skip
    node = stores(database)
    node.settings |= listeners()
    assert only_line(node.run("start")) == (
        "Database needs bootstrapping or is older than Kong 1.0. Run 'kong migrations bootstrap'"
    )
    outcome = node.run("start", "--run-migrations")
    try:
        assert outcome.code == 0, outcome
        assert outcome.out.startswith("Kong started\n")
        assert node.run("health").code == 0
    finally:
        node.run("stop")


def test_start_waits_until_the_store_is_there(make_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    server = make_postgres()
    server.create_database("later")
    node = Commands(tmp_path / "node", {**server.settings("later"), **listeners()})
    node.done("migrations", "bootstrap", "-q")
    server.stop()
    starting = node.spawn("start")
    assert starting.stderr is not None
    try:
        assert WAITING.fullmatch(starting.stderr.readline().rstrip("\n"))
        server.start()
        out, err = starting.communicate(timeout=120)
        assert (starting.returncode, out.splitlines()[0]) == (0, "Kong started"), (out, err)
    finally:
        node.run("stop")


def test_a_last_good_configuration_is_enough_to_start(make_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    server = make_postgres()
    server.create_database("lost")
    node = Commands(tmp_path / "node", {**server.settings("lost"), **listeners()})
    node.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.yml"
    file.write_text(
        "_format_version: '3.0'\nroutes: [{name: r, paths: [/kept], plugins: [{name: request-termination}]}]"
    )
    node.done("config", "db_import", str(file))
    proxy = f"http://{node.settings['KONG_PROXY_LISTEN']}"
    try:
        node.done("start")
        wait_until((node.prefix / "last-good-configuration").exists)
        node.done("stop")
        server.stop()
        outcome = node.run("start")
        assert outcome.code == 0, outcome
        assert outcome.err.startswith("Warning: postgres at ")
        assert "starting with the last good configuration of this node" in outcome.err
        assert requests.get(f"{proxy}/kept", timeout=10).status_code == 503
        outcome = node.run("restart")
        assert outcome.code == 0, outcome
        server.start()
        file.write_text(file.read_text().replace("/kept", "/new"))
        node.done("config", "db_import", str(file))
        wait_until(lambda: requests.get(f"{proxy}/new", timeout=10).status_code == 503)
    finally:
        node.run("stop")


def test_restart_leaves_a_gateway_alone_whose_store_is_away(
    make_postgres: Callable[..., Postgres], tmp_path: Path
) -> None:
    server = make_postgres()
    server.create_database("gone")
    node = Commands(tmp_path / "node", {**server.settings("gone"), **listeners()})
    node.done("migrations", "bootstrap", "-q")
    try:
        node.done("start")
        wait_until((node.prefix / "last-good-configuration").exists)
        server.stop()
        for file in node.prefix.glob("last-good-configuration*"):
            file.unlink(missing_ok=True)  # a worker may still be at it
        outcome = node.run("restart", "--db-timeout", "1")
        assert outcome.code == 1, outcome
        assert "(tried for 1 s)" in outcome.err
        assert node.run("health").code == 0
    finally:
        node.run("stop")


def test_an_interrupted_wait_ends_at_once(tmp_path: Path) -> None:
    node = Commands(tmp_path / "node", {**away("cassandra"), **listeners()})
    waiting = node.spawn("migrations", "bootstrap")
    assert waiting.stderr is not None
    assert WAITING.fullmatch(waiting.stderr.readline().rstrip("\n"))
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 1
    assert "Error: interrupted" in err
    node.close()
