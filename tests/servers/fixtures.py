"""The pytest side: fixtures for the servers, `--without SERVER`, and what a session owes to them at its end.

Session-wide servers (`cassandra`, `postgres`, `redis`) are started when a test first asks for them, once for all
processes of pytest-xdist. Factories (`make_cassandra`, `make_postgres`, `make_redis`, `make_haproxy`, …) start servers
that a module may kill; they end with the module. A server that cannot be had fails its tests with the reason.

A test that asks for a server only at run time says so: ``@pytest.mark.needs("cassandra")``, also as a mark of a
parameter.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.devtools import jars
from kong_gevent.devtools.cluster import Layout
from kong_gevent.devtools.java import Frugality
from tests.servers import haproxy as haproxy_server
from tests.servers.cassandra import Cassandra
from tests.servers.haproxy import HAProxy
from tests.servers.house import Description, House
from tests.servers.nginx import Nginx
from tests.servers.postgres import Postgres
from tests.servers.process import free_addresses
from tests.servers.redis import Redis
from tests.servers.slapd import Slapd

SERVERS = ("cassandra", "postgres", "redis", "haproxy", "nginx", "slapd")
START_SECONDS = {"cassandra": 300, "postgres": 60, "redis": 30, "haproxy": 30, "nginx": 30, "slapd": 30}
"""What a test that may be the first to start a server gets in addition to its own time."""
FIXTURES = {
    "cassandra": "cassandra",
    "cassandra_keyspace": "cassandra",
    "make_cassandra": "cassandra",
    "postgres": "postgres",
    "postgres_database": "postgres",
    "make_postgres": "postgres",
    "redis": "redis",
    "make_redis": "redis",
    "haproxy": "haproxy",
    "make_haproxy": "haproxy",
    "make_nginx": "nginx",
    "make_slapd": "slapd",
}
HOUSE = pytest.StashKey[House]()
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--without`, `--cassandra-jars`."""
    group = parser.getgroup("servers", "the real servers that tests use")
    group.addoption(
        "--without", action="append", default=[], choices=SERVERS, help="leave out the tests that need this server"
    )
    group.addoption(
        "--cassandra-jars", type=Path, default=None, help="folder of Cassandra's jars (default: in ~/.cache)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the session's folder; processes of pytest-xdist get it from the one that started them."""
    config.addinivalue_line("markers", "needs(*servers): uses these servers; deselected by --without SERVER")
    given = getattr(config, "workerinput", {}).get("servers")
    config.stash[HOUSE] = House(Path(given) if given else None)
    config.stash[LEFT_OUT] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist where the session's servers live."""
    node.workerinput["servers"] = str(node.config.stash[HOUSE].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what still runs."""
    if house := config.stash.get(HOUSE, None):
        house.close()


def needed(item: pytest.Item) -> set[str]:
    """The servers that a test uses."""
    named = {FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in FIXTURES}
    return named | {server for mark in item.iter_markers("needs") for server in mark.args}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--without` names; give tests that may have to start a server the time for it."""
    without = set(config.getoption("without"))
    left_out, kept = config.stash[LEFT_OUT], []
    left_out.update(dict.fromkeys(without, 0))
    for item in items:
        servers = needed(item)
        unknown = servers - set(SERVERS)
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} needs unknown servers: {', '.join(sorted(unknown))}")
        for server in servers & without:
            left_out[server] += 1
        if not servers & without:
            kept.append(item)
            _allow_time(item, servers)
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


def _allow_time(item: pytest.Item, servers: set[str]) -> None:
    if not servers or item.get_closest_marker("timeout"):
        return
    limit = item.config.getoption("timeout", None) or item.config.getini("timeout") or 0
    if float(limit):
        item.add_marker(pytest.mark.timeout(float(limit) + sum(START_SECONDS[server] for server in servers)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out, so that nobody takes such a run for a whole one."""
    for server in dict.fromkeys(config.getoption("without")):
        number = config.stash[LEFT_OUT].get(server)
        tests = "the tests" if number is None else f"{number} test{'' if number == 1 else 's'}"
        terminalreporter.write_line(f"left out by --without {server}: {tests} that need {server}", yellow=True)


# fixtures


@pytest.fixture(scope="session")
def server_house(request: pytest.FixtureRequest) -> House:
    """Where the session's servers live."""
    return request.config.stash[HOUSE]


@pytest.fixture(scope="session")
def require_server(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Fail when a test asks for a server that was left out: its test lacks the mark ``needs``."""

    def require(server: str) -> None:
        if server in request.config.getoption("without"):
            pytest.fail(f'{server} was left out, but the test has no mark needs("{server}")', pytrace=False)

    return require


@pytest.fixture(scope="session")
def cassandra_jars(request: pytest.FixtureRequest) -> Path:
    """The folder of Cassandra's jars, fetched when they are missing."""
    return jars.fetch(request.config.getoption("--cassandra-jars"))


@pytest.fixture(scope="session")
def cassandra(server_house: House, require_server: Callable[[str], None], request: pytest.FixtureRequest) -> Cassandra:
    """One node for the whole session (nobody may stop it): ``cassandra.settings(keyspace)``, ``.execute(cql)``."""
    require_server("cassandra")
    lib: Path | None = request.config.getoption("--cassandra-jars")

    def start(folder: Path) -> Description:
        layout = Layout(first_address=free_addresses(1, 7000, 9042), frugality=Frugality(durable=False))
        server = Cassandra(folder, layout, lib, server_house.record)
        server_house.keep(server)
        server.up()
        return {}

    folder, _ = server_house.shared("cassandra", start)
    found = Cassandra.load(folder)
    assert isinstance(found, Cassandra)
    return found


@pytest.fixture(scope="module")
def cassandra_keyspace(cassandra: Cassandra) -> Iterator[str]:
    """The name of a keyspace of the module's own, empty, on the session's node; dropped at the end."""
    name = cassandra.create_keyspace()
    yield name
    cassandra.drop_keyspace(name)


@pytest.fixture(scope="module")
def make_cassandra(
    server_house: House, require_server: Callable[[str], None], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Cassandra]]:
    """Start a cluster of the module's own: ``make_cassandra(nodes=3)``, ``make_cassandra(data_centers={"dc1": 1,
    "dc2": 1}, auth=True, tls="mutual", yaml={…}, durable=True)``. Acknowledged writes survive a killed node.
    """
    require_server("cassandra")
    with ExitStack() as stack:

        def make(
            nodes: int = 1,
            *,
            data_centers: Mapping[str, int] | None = None,
            auth: bool = False,
            tls: str = "off",
            yaml: Mapping[str, str] | None = None,
            durable: bool = True,
            start: bool = True,
        ) -> Cassandra:
            centers = dict(data_centers or {"dc1": nodes})
            layout = Layout(
                first_address=free_addresses(sum(centers.values()), 7000, 9042), data_centers=centers, auth=auth,
                tls=tls, yaml=yaml or {}, frugality=Frugality(durable=durable),
            )  # fmt: skip
            lib = request.config.getoption("--cassandra-jars")
            cluster = Cassandra(server_house.new_folder("cassandra"), layout, lib, server_house.record)
            stack.callback(cluster.remove)
            if start:
                cluster.up()
            return cluster

        yield make


@pytest.fixture(scope="session")
def postgres(server_house: House, require_server: Callable[[str], None]) -> Postgres:
    """One server for the whole session (nobody may stop it): ``postgres.settings(database)``, ``.connect()``."""
    require_server("postgres")

    def start(folder: Path) -> Description:
        server = Postgres(folder, started=server_house.record)
        server_house.keep(server)
        server.start()
        return {"address": server.address, "port": server.port}

    folder, made = server_house.shared("postgres", start)
    return Postgres(folder, **made)


@pytest.fixture(scope="module")
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """The name of an empty database of the module's own on the session's server; dropped at the end."""
    name = postgres.fresh_name()
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def make_postgres(server_house: House, require_server: Callable[[str], None]) -> Iterator[Callable[..., Postgres]]:
    """Start a server of the module's own: ``make_postgres()``, ``make_postgres(tls="only")``,
    ``make_postgres(primary=other)`` for a replica.
    """
    require_server("postgres")
    with ExitStack() as stack:

        def make(**options: Any) -> Postgres:
            return stack.enter_context(
                Postgres(server_house.new_folder("postgres"), started=server_house.record, **options)
            )

        yield make


@pytest.fixture(scope="session")
def redis(server_house: House, require_server: Callable[[str], None]) -> Redis:
    """One server for the whole session (nobody may stop it); tests use keys of their own."""
    require_server("redis")

    def start(folder: Path) -> Description:
        server = Redis(folder, started=server_house.record)
        server_house.keep(server)
        server.start()
        return {"address": server.address, "port": server.port}

    folder, made = server_house.shared("redis", start)
    return Redis(folder, **made)


@pytest.fixture(scope="module")
def make_redis(server_house: House, require_server: Callable[[str], None]) -> Iterator[Callable[..., Redis]]:
    """Start a server of the module's own: ``make_redis(password="x", users=[…], tls=True, options={…})``."""
    require_server("redis")
    with ExitStack() as stack:

        def make(**options: Any) -> Redis:
            return stack.enter_context(Redis(server_house.new_folder("redis"), started=server_house.record, **options))

        yield make


@pytest.fixture(scope="session")
def haproxy(require_server: Callable[[str], None]) -> str:
    """Path of the program."""
    require_server("haproxy")
    return haproxy_server.binary()


@pytest.fixture(scope="module")
def make_haproxy(server_house: House, require_server: Callable[[str], None]) -> Iterator[Callable[..., HAProxy]]:
    """Start an HAProxy: ``make_haproxy(configuration, port)``."""
    require_server("haproxy")
    with ExitStack() as stack:

        def make(configuration: str, port: int, **options: Any) -> HAProxy:
            return stack.enter_context(
                HAProxy(server_house.new_folder("haproxy"), configuration, port, started=server_house.record, **options)
            )

        yield make


@pytest.fixture(scope="module")
def make_nginx(server_house: House, require_server: Callable[[str], None]) -> Iterator[Callable[..., Nginx]]:
    """Start an nginx: ``make_nginx(configuration, port)``, the first being what stands in its part `http`."""
    require_server("nginx")
    with ExitStack() as stack:

        def make(configuration: str, port: int, **options: Any) -> Nginx:
            return stack.enter_context(
                Nginx(server_house.new_folder("nginx"), configuration, port, started=server_house.record, **options)
            )

        yield make


@pytest.fixture(scope="module")
def make_slapd(server_house: House, require_server: Callable[[str], None]) -> Iterator[Callable[..., Slapd]]:
    """Start an LDAP server of the module's own: ``make_slapd({"ada": "secret"}, tls=True)``."""
    require_server("slapd")
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Slapd:
            return stack.enter_context(
                Slapd(server_house.new_folder("slapd"), *arguments, started=server_house.record, **options)
            )

        yield make
