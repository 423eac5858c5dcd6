"""rate-limiting: counters in the datastore and in Redis, as a request meets them."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from kong_gevent.errors import StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.rate_limiting import NO_ID, current_windows
from tests.servers.process import free_port
from tests.servers.redis import Redis

Make = Callable[..., InMemoryGateway]
Node = Callable[..., InMemoryGateway]
RATES = [-1, 0.05]


def told(run: Run) -> dict[str, str]:
    return {name: value for name, value in run.response.headers.fields if "RateLimit" in name or name == "Retry-After"}


def eventually(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.02)


@pytest.fixture
def node(plugin: Make) -> Node:
    """A gateway with a year's limit, so that no test meets the end of a window by chance."""

    def make(year: int = 5, **config: Any) -> InMemoryGateway:
        return plugin("rate-limiting", year=year, **config)

    return make


@pytest.fixture
def server(redis: Redis) -> Iterator[dict[str, Any]]:
    """A plugin's settings for the session's server, with a database that is empty."""

    def flush() -> None:
        with socket.create_connection((redis.address, redis.port)) as connection:
            connection.sendall(b"SELECT 5\r\nFLUSHDB\r\nQUIT\r\n")
            while connection.recv(100):
                pass

    flush()
    yield {"host": redis.address, "port": redis.port, "database": 5}
    flush()


def keys_of(made: InMemoryGateway, server: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The keys in the database: value and seconds to live."""
    client = made.kit.redis({"timeout": 2000, **server})
    keys = client.call(("KEYS", "*"))[0]
    found = {key.decode(): client.call(("GET", key), ("TTL", key)) for key in keys}
    client.close()
    return {key: (int(value), life) for key, (value, life) in found.items()}


class TestRedis:
    @pytest.mark.parametrize("rate", RATES)
    def test_the_answers_are_those_of_the_other_policies(self, node: Node, server: dict[str, Any], rate: float) -> None:
        made = node(2, policy="redis", redis=server, sync_rate=rate)
        first, second, third = (made.get() for _ in range(3))
        assert [run.status for run in (first, second, third)] == [200, 200, 429]
        assert [told(run)["X-RateLimit-Remaining-Year"] for run in (first, second, third)] == ["1", "0", "0"]
        assert told(third)["Retry-After"] == told(third)["RateLimit-Reset"]
        assert third.response.json()["message"] == "API rate limit exceeded"
        assert third.upstreams == []

    @pytest.mark.parametrize("rate", RATES)
    def test_counters_have_kongs_keys_and_end_with_their_window(
        self, node: Node, server: dict[str, Any], rate: float
    ) -> None:
        made = node(50, month=40, limit_by="ip", policy="redis", redis=server, sync_rate=rate)
        made.peer = ("10.1.2.3", 1)
        before = current_windows(int(time.time()))
        for _ in range(3):
            made.get()
        windows = [current_windows(int(time.time())), before]
        eventually(lambda: [value for value, _ in keys_of(made, server).values()] == [3, 3])
        found = keys_of(made, server)
        for period in ("month", "year"):
            (key,) = (key for key in found if key.endswith(period))
            assert key in [f"ratelimit:{NO_ID}:{NO_ID}:10.1.2.3{around[period].key}" for around in windows]
            assert 0 < found[key][1] <= max(around[period].end for around in windows) - time.time() + 1

    def test_scope_and_identity_are_in_the_key(self, plugin: Make, server: dict[str, Any]) -> None:
        made = plugin("key-auth")
        ada = made.consumer("ada", "k1")
        made.use("rate-limiting", on="route", year=5, policy="redis", redis=server)
        made.get("/", headers={"apikey": "k1"})
        assert [key.split(":")[:4] for key in keys_of(made, server)] == [
            ["ratelimit", made.route["id"], NO_ID, ada["id"]]
        ]

    @pytest.mark.parametrize(("rate", "counted"), [(-1, 4), (0.05, 2)])
    def test_whether_refused_requests_count(
        self, node: Node, server: dict[str, Any], rate: float, counted: int
    ) -> None:
        made = node(2, policy="redis", redis=server, sync_rate=rate)
        assert [made.get().status for _ in range(4)] == [200, 200, 429, 429]
        eventually(lambda: [value for value, _ in keys_of(made, server).values()] == [counted])

    def test_nodes_count_together_at_once(self, node: Node, server: dict[str, Any]) -> None:
        nodes = [node(5, policy="redis", redis=server) for _ in range(2)]
        assert [nodes[number % 2].get().status for number in range(7)] == [200] * 5 + [429] * 2

    def test_or_after_a_synchronisation(self, node: Node, server: dict[str, Any]) -> None:
        nodes = [node(6, policy="redis", redis=server, sync_rate=0.05) for _ in range(2)]
        assert [made.get().status for made in nodes for _ in range(2)] == [200] * 4
        eventually(lambda: [value for value, _ in keys_of(nodes[0], server).values()] == [4])
        gevent.sleep(1.5)  # also a counter that has not changed here is read every now and then
        assert [made.get().status for made in nodes] == [200, 200]
        eventually(lambda: [value for value, _ in keys_of(nodes[0], server).values()] == [6])
        gevent.sleep(1.5)
        assert [made.get().status for made in nodes] == [429, 429]

    def test_a_new_node_knows_what_has_been_counted(self, node: Node, server: dict[str, Any]) -> None:
        first = node(3, policy="redis", redis=server, sync_rate=0.05)
        assert [first.get().status for _ in range(2)] == [200, 200]
        eventually(lambda: [value for value, _ in keys_of(first, server).values()] == [2])
        assert [node(3, policy="redis", redis=server, sync_rate=0.05).get().status] == [200]

    @pytest.mark.parametrize("rate", RATES)
    def test_a_server_that_is_away_lets_requests_pass_without_headers(self, node: Node, rate: float) -> None:
        made = node(1, policy="redis", redis={"host": "127.0.0.1", "port": free_port()}, sync_rate=rate)
        assert [(run.status, told(run)) for run in (made.get(), made.get(), made.get())] == [(200, {})] * 3

    @pytest.mark.parametrize("rate", RATES)
    def test_or_ends_them_with_an_error(self, node: Node, rate: float) -> None:
        record = {"host": "127.0.0.1", "port": free_port()}
        made = node(1, policy="redis", redis=record, sync_rate=rate, fault_tolerant=False)
        runs = [made.get(), made.get()]
        assert [(run.status, told(run), run.upstreams) for run in runs] == [(500, {}, [])] * 2
        assert runs[0].response.json()["message"] == "An unexpected error occurred"

    def test_it_is_said_once_a_second(self, node: Node, caplog: pytest.LogCaptureFixture) -> None:
        made = node(1, policy="redis", redis={"host": "127.0.0.1", "port": free_port()})
        began = time.time()
        for _ in range(50):
            made.get()
        lines = [record for record in caplog.records if "counters cannot be reached" in record.getMessage()]
        assert 1 <= len(lines) <= 2 + int(time.time() - began)

    def test_a_changed_configuration_leaves_no_connection_behind(self, node: Node, server: dict[str, Any]) -> None:
        made = node(5, policy="redis", redis=server, sync_rate=0.05)
        observer = node().kit.redis({"timeout": 2000, **server, "database": 6})

        def connections() -> int:
            return sum(b" db=5 " in line for line in observer.call(("CLIENT", "LIST"))[0].splitlines())

        made.get()
        assert connections() == 1
        (entity,) = made.store.dao("plugins").each(10)
        for timeout in (500, 600, 700):
            made.update("plugins", entity["id"], config={"redis": {**server, "timeout": timeout}})
            made.get()
        eventually(lambda: connections() == 1)
        made.delete("plugins", entity["id"])
        eventually(lambda: connections() == 0)
        observer.close()


class TestCluster:
    def away(self, made: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise StoreUnavailable("away")

        for name in ("push_counts", "read_counts", "ping"):
            monkeypatch.setattr(made.store.strategy, name, fail)

    def counts(self, made: InMemoryGateway) -> dict[str, int]:
        """What the store holds, whoever counted it."""
        (window,) = {current_windows(int(time.time()))["year"].key}
        key = f"ratelimit:{NO_ID}:{NO_ID}:127.0.0.1{window}"
        return {name: sum(found.values()) for name, found in made.store.strategy.read_counts([key]).items()}

    def test_the_answers_are_those_of_the_other_policies(self, node: Node) -> None:
        made = node(2, policy="cluster")
        runs = [made.get() for _ in range(3)]
        assert [run.status for run in runs] == [200, 200, 429]
        assert [told(run)["X-RateLimit-Remaining-Year"] for run in runs] == ["1", "0", "0"]

    def test_counts_are_published_and_refused_requests_do_not_count(self, node: Node) -> None:
        made = node(2, policy="cluster")
        for _ in range(5):
            made.get()
        eventually(lambda: list(self.counts(made).values()) == [2])

    def test_what_others_have_published_counts(self, node: Node) -> None:
        made = node(5, policy="cluster")
        made.get()
        eventually(lambda: bool(self.counts(made)))
        ((key, _),) = self.counts(made).items()
        made.store.strategy.push_counts("another node", {key: (3, time.time() + 1000)})
        gevent.sleep(1.5)
        assert [made.get().status for _ in range(2)] == [200, 429]

    def test_a_new_counter_knows_what_others_have_published(self, node: Node) -> None:
        made = node(5, policy="cluster")
        key = f"ratelimit:{NO_ID}:{NO_ID}:127.0.0.1{current_windows(int(time.time()))['year'].key}"
        made.store.strategy.push_counts("another node", {key: (3, time.time() + 1000)})
        assert [made.get().status for _ in range(3)] == [200, 200, 429]

    def test_without_the_store_the_node_goes_on_with_what_it_knows(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = node(3, policy="cluster")
        self.away(made, monkeypatch)
        assert [made.get().status for _ in range(4)] == [200, 200, 200, 429]

    def test_or_requests_end_with_an_error(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        made = node(3, policy="cluster", fault_tolerant=False)
        assert made.get().status == 200
        self.away(made, monkeypatch)
        with gevent.Timeout(20):
            while made.get().status != 500:
                gevent.sleep(0.02)
        monkeypatch.undo()
        with gevent.Timeout(20):
            while made.get().status == 500:
                gevent.sleep(0.02)
