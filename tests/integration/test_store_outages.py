"""A gateway under load whose store goes away and comes back: what is known is served on, what is not fails closed."""

import resource
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from time import monotonic, sleep
from typing import Any, Self

import pytest
import requests

from tests.gateway import Gateway
from tests.integration.stores import Commands
from tests.integration.support import Load, ask, client_of
from tests.servers.cassandra import Cassandra
from tests.servers.postgres import Postgres
from tests.upstream import Upstream
from tests.wire import wait_until

SOON = 60
"""Seconds: far more than it takes, for machines that are busy."""
KNOWN = "known"
STRANGERS = 60
"""Credentials that exist and that no worker has looked up before it is asked for them."""


class Single:
    """A store of one server, which a test may kill: `settings` lead to it."""

    def __init__(self, settings: dict[str, str], kill: Callable[[], None], start: Callable[[], None]) -> None:
        self.settings, self.kill, self.start = settings, kill, start


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("postgres", marks=pytest.mark.needs("postgres")),
        pytest.param("cassandra", marks=pytest.mark.needs("cassandra")),
    ],
)
def single(request: pytest.FixtureRequest) -> Single:
    """One server of each kind that is one."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("make_postgres")()
        server.create_database("single")
        return Single(server.settings("single"), server.kill, server.start)
    cluster: Cassandra = request.getfixturevalue("make_cassandra")()
    return Single(cluster.settings("single"), cluster.kill, cluster.up)


class Node:
    """A gateway of two workers: an open route, and one behind key-auth whose caches know one key."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        gateway.route(upstream.url, service={"name": "open"}, paths=["/open"])
        guarded = gateway.route(upstream.url, service={"name": "guarded"}, paths=["/guarded"])
        gateway.create(f"/routes/{guarded['id']}/plugins", name="key-auth")
        gateway.create("/consumers", username="somebody")
        for key in (KNOWN, *(f"stranger{number}" for number in range(STRANGERS))):
            gateway.create("/consumers/somebody/key-auth", key=key)
        for pid in gateway.worker_pids():
            with client_of(gateway, pid) as client:
                assert ask(client, "GET", "/guarded", f"apikey: {KNOWN}").status == 200
        self._strangers = iter(range(STRANGERS))
        self._numbers = count()

    def stranger(self) -> int:
        """The status for a credential that exists and that nobody has looked up."""
        return self.gateway.get("/guarded", headers={"apikey": f"stranger{next(self._strangers)}"}).status_code

    def impostor(self) -> int:
        """The status for a key that nobody has."""
        return self.gateway.get("/guarded", headers={"apikey": f"nobody{next(self._numbers)}"}).status_code

    def change(self) -> int:
        """The status of a change by the Admin API."""
        answer = self.gateway.admin("POST", "/consumers", {"username": f"new{next(self._numbers)}"})
        return answer.status_code

    def works(self) -> bool:
        """Whether look-ups and changes do again what they should."""
        return (self.impostor(), self.change()) == (401, 201)


@contextmanager
def serving(settings: dict[str, str], **options: Any) -> Iterator[Node]:
    """A node on a store that has its tables."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        yield Node(stack.enter_context(Gateway(workers=2, env=settings, **options)), upstream)


@contextmanager
def unharmed(gateway: Gateway) -> Iterator[None]:
    """Clients that ask for what the node knows, all the time; none of them may notice anything."""
    with Load(gateway, "/open") as open_route, KnownLoad(gateway) as guarded:
        yield
        open_route.more(50)
        guarded.more(50)
    assert open_route.failures == []
    assert guarded.failures == []


class KnownLoad(Load):
    """Load with the credential that the caches know."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway, "/guarded", kept=2, fresh=1, lines=(f"apikey: {KNOWN}",))


def test_a_store_that_is_lost_and_comes_back(single: Single, prepared: Callable[[dict[str, str]], None]) -> None:
    prepared(single.settings)
    with serving(single.settings) as node:
        gateway = node.gateway
        assert (node.stranger(), node.impostor(), node.change()) == (200, 401, 201)
        with unharmed(gateway):
            single.kill()
            seen = Counter(node.impostor() for _ in range(20)) + Counter(node.stranger() for _ in range(20))
            assert set(seen) <= {401, 503}, "somebody was let in, or got another answer"
            assert (node.stranger(), node.change()) == (503, 503)
            assert gateway.get("/guarded").status_code == 401
            wait_until(lambda: not gateway.is_ready(), SOON)
            sleep(3)  # longer than any pause between two tries
            assert (node.stranger(), node.change()) == (503, 503)
            single.start()
            wait_until(node.works, SOON)
            wait_until(gateway.is_ready, SOON)
            assert node.stranger() == 200


def test_a_store_that_restarts(single: Single, prepared: Callable[[dict[str, str]], None]) -> None:
    """Whoever asks again is served."""
    prepared(single.settings)
    with serving(single.settings) as node, unharmed(node.gateway), Insistent(node) as insistent:
        insistent.more(20)
        single.kill()
        single.start()
        insistent.more(20)
    assert insistent.failures == []


class Insistent:
    """Somebody who changes, reads and looks up one thing after the other, each again until it is done."""

    PATIENCE = 60.0

    def __init__(self, node: Node) -> None:
        self.node = node
        self.done = 0
        self.again: Counter[str] = Counter()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(self.PATIENCE + 10)

    def more(self, number: int) -> None:
        """Wait until so many more things are done."""
        wanted = self.done + number
        wait_until(lambda: self.done >= wanted or self.failures, 120)

    def _run(self) -> None:
        gateway = self.node.gateway
        for number in count():
            if self._end.is_set():
                return
            name = f"insistent{number}"
            # PUT: to be repeated without harm when the outcome of the first try is unknown.
            made = self._insist("PUT", f"/consumers/{name}", {}, {200})
            if made is None:
                return
            answer = self._insist("GET", f"/consumers/{name}", None, {200})
            if answer is not None and answer.json()["id"] != made.json()["id"]:
                self.failures.append(f"{name} is another one: {answer.text}")
            self._insist("PUT", f"/consumers/{name}/key-auth/{_id(number)}", {"key": name}, {200})
            self._until(lambda: gateway.get("/guarded", headers={"apikey": name}), {200}, f"key {name}")  # noqa: B023
            self.done += 1

    def _insist(self, method: str, path: str, body: object, wanted: set[int]) -> requests.Response | None:
        return self._until(lambda: self.node.gateway.admin(method, path, body), wanted, f"{method} {path}")

    def _until(self, action: Callable[[], requests.Response], wanted: set[int], what: str) -> requests.Response | None:
        end = monotonic() + self.PATIENCE
        while True:
            answer = action()
            if answer.status_code in wanted:
                return answer
            if answer.status_code != 503 or monotonic() > end:
                self.failures.append(f"{what}: {answer.status_code} {answer.text}")
                return None
            self.again[what.split()[0]] += 1
            sleep(0.05)


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


@pytest.mark.timeout(600)
def test_one_of_three_cassandra_nodes_is_killed(
    make_cassandra: Callable[..., Cassandra], prepared: Callable[[dict[str, str]], None]
) -> None:
    """Three copies at LOCAL_QUORUM: no client of the proxy notices, and no change or read fails when it is repeated."""
    cluster = make_cassandra(nodes=3)
    prepared(cluster.settings("three"))
    with serving(cluster.settings("three")) as node, unharmed(node.gateway), Insistent(node) as insistent:
        for victim in (0, 2):
            insistent.more(20)
            cluster.nodes[victim].kill()
            insistent.more(60)
            assert [node.stranger() for _ in range(20)] == [200] * 20
            cluster.up()
        insistent.more(20)
    assert insistent.failures == []


def test_a_full_disk_under_sqlite() -> None:
    """Nothing more fits into any file: changes are refused, everything else goes on; later they work again."""
    with serving({"KONG_PROXY_ACCESS_LOG": "off", "KONG_ADMIN_ACCESS_LOG": "off"}) as node, unharmed(node.gateway):
        limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in node.gateway.worker_pids()}
        try:
            for pid, (_, hard) in limits.items():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (16 << 10, hard))
            wait_until(lambda: node.change() == 503, SOON)
            refused = node.gateway.admin("POST", "/consumers", {"username": "refused"})
            assert refused.status_code == 503
            assert "disk" in refused.json()["message"].lower() or "disk" in node.gateway.log().lower()
            assert (node.stranger(), node.impostor()) == (200, 401)
            assert node.gateway.admin("GET", "/consumers/somebody").status_code == 200
            assert node.gateway.admin("GET", "/consumers/refused").status_code == 404
        finally:
            for pid, limit in limits.items():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        wait_until(lambda: node.change() == 201, SOON)


@pytest.fixture
def prepared(tmp_path: Any) -> Callable[[dict[str, str]], None]:
    """Makes a store's tables anew."""

    def prepare(settings: dict[str, str]) -> None:
        Commands(tmp_path / "prepare", settings).done("migrations", "bootstrap", "--force", "--yes", "-q")

    return prepare
