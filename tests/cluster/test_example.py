"""`examples/cluster`, with its very files: nodes join, leave, die and are replaced behind HAProxy, under load."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.gateway import ROOT
from tests.integration.support import Load
from tests.servers.cassandra import Cassandra
from tests.servers.process import is_free
from tests.upstream import Step, Upstream, answer, by_path, plain
from tests.wire import Client, Request, wait_until

SCRIPT = ROOT / "examples" / "cluster" / "local"
IN_FLIGHT = 12
SECONDS = 240

pytestmark = [pytest.mark.needs("haproxy"), pytest.mark.timeout(600)]


class Slow:
    """Answers that come when the test says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, request: Request) -> list[Step]:
        while not self.go_on.is_set():
            self.go_on.wait(0.1)
        return [answer(200, b"slow")]


class Cluster:
    """What `local` has started."""

    def __init__(self, folder: Path, settings: dict[str, str], net: str) -> None:
        self.net = net
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONG_")}
        self._environment = {
            **inherited, **settings, "NET": net, "CLUSTER_DIR": str(folder), "PYTHONPATH": str(ROOT),
            "PROGRAM": f"{sys.executable} -m kong_gevent", "KONG_NGINX_WORKER_PROCESSES": "1",
        }  # fmt: skip

    def run(self, *words: str) -> str:
        """Run a command of the script that must succeed."""
        done = subprocess.run(
            [str(SCRIPT), *words], env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def client(self, timeout: float = 15) -> Client:
        """A connection to HAProxy."""
        return Client(8000, f"{self.net}.10", timeout)

    def up(self) -> list[int]:
        """The nodes that HAProxy sends requests to."""
        lines = self.run("status").splitlines()
        return [number for number, line in enumerate(lines, 1) if line.endswith(": UP")]

    def create(self, node: int, collection: str, **fields: object) -> None:
        """An entity by the Admin API of a node."""
        made = requests.post(f"http://{self.net}.{10 + node}:8001{collection}", json=fields, timeout=30)
        assert made.status_code == 201, made.text


def free_net() -> str:
    """A network of loopback addresses with all that the example needs."""
    while True:
        net = f"127.{random.randrange(64, 250)}.{random.randrange(256)}"
        wanted = [(10, 8000), (10, 8404), *((10 + node, port) for node in range(1, 7) for port in (8000, 8001, 8007))]
        if all(is_free(f"{net}.{number}", port) for number, port in wanted):
            return net


@pytest.fixture(scope="module")
def slow() -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def origin(slow: Slow) -> Iterator[Upstream]:
    with Upstream(by_path({"/slow": slow}, plain(b"fine"))) as server:
        yield server


@pytest.fixture(scope="module")
def datastore(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    return make_cassandra()


@pytest.fixture(scope="module")
def cluster(
    datastore: Cassandra, haproxy: str, origin: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three nodes on a Cassandra, behind HAProxy."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), datastore.settings("kong"), free_net())
    try:
        made.run("up", "3")
        made.create(1, "/services", name="origin", url=origin.url)
        made.create(1, "/services/origin/routes", paths=["/"])
        wait_until(lambda: all(_served(made, node) for node in (1, 2, 3)))
        yield made
    finally:
        made.run("down")


def _served(cluster: Cluster, node: int) -> bool:
    return requests.get(f"http://{cluster.net}.{10 + node}:8000/", timeout=10).status_code == 200


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Load]:
    """Clients with connections that they keep, and clients with new ones, all the time."""
    with Load(cluster, kept=3, fresh=3) as made:  # type: ignore[arg-type]  # it needs no more than `client`
        made.more(100)
        yield made


def test_nodes_join_leave_and_are_replaced_without_a_lost_request(cluster: Cluster, load: Load) -> None:
    assert cluster.up() == [1, 2, 3]
    cluster.run("add", "4")
    load.more(100)
    assert cluster.up() == [1, 2, 3, 4]
    cluster.run("quit", "2")
    load.more(100)
    assert cluster.up() == [1, 3, 4]
    cluster.run("roll")
    load.more(100)
    assert cluster.up() == [1, 3, 4]
    assert (load.failures, load.retried) == ([], 0)


class InFlight:
    """Requests that change something, on their way through all nodes until `finish`; `statuses` are their answers."""

    def __init__(self, cluster: Cluster, origin: Upstream, slow: Slow) -> None:
        self._origin, self._slow = origin, slow
        self._url = f"http://{cluster.net}.10:8000/slow"
        self.statuses: list[int] = []
        slow.go_on.clear()
        origin.clear()
        self._threads = [threading.Thread(target=self._post) for _ in range(IN_FLIGHT)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.received() == IN_FLIGHT)

    def _post(self) -> None:
        self.statuses.append(requests.post(self._url, data=b"change", timeout=SECONDS).status_code)

    def received(self) -> int:
        """How many of them the upstream has received: more than there are when one was repeated."""
        return sum(request.target == "/slow" for request in list(self._origin.requests))

    def finish(self) -> None:
        """Let the upstream answer."""
        self._slow.go_on.set()
        for thread in self._threads:
            thread.join(SECONDS)


def test_requests_in_flight_end_well_when_their_node_leaves(
    cluster: Cluster, load: Load, slow: Slow, origin: Upstream
) -> None:
    leaving = cluster.up()[0]
    in_flight = InFlight(cluster, origin, slow)
    leaver = threading.Thread(target=cluster.run, args=("quit", str(leaving)))
    leaver.start()
    try:
        wait_until(lambda: leaving not in cluster.up())
        load.more(100)
    finally:
        in_flight.finish()
        leaver.join(SECONDS)
    assert in_flight.statuses == [200] * IN_FLIGHT
    assert in_flight.received() == IN_FLIGHT
    assert (load.failures, load.retried) == ([], 0)
    cluster.run("add", str(leaving))


def test_a_node_that_dies_loses_what_it_was_serving_and_nothing_else(
    cluster: Cluster, load: Load, slow: Slow, origin: Upstream
) -> None:
    """Its share of what changes something; requests that only read are repeated by HAProxy at another node."""
    serving = cluster.up()
    in_flight = InFlight(cluster, origin, slow)
    try:
        cluster.run("kill", str(serving[0]))
        wait_until(lambda: cluster.up() == serving[1:])
        load.more(100)
    finally:
        in_flight.finish()
    lost = [status for status in in_flight.statuses if status != 200]
    assert 0 < len(lost) <= IN_FLIGHT // 2
    assert set(lost) <= {502, 504}
    assert in_flight.received() == IN_FLIGHT, "what may have been done was repeated"
    assert (load.failures, load.retried) == ([], 0)
    cluster.run("add", str(serving[0]))
    assert cluster.up() == serving


def test_requests_are_served_while_the_datastore_is_lost(cluster: Cluster, load: Load, datastore: Cassandra) -> None:
    """No node is ready then; HAProxy uses them all the same."""
    serving = cluster.up()
    (node,) = datastore.nodes
    node.kill()
    wait_until(lambda: cluster.up() == [])
    load.more(200)
    datastore.up()
    wait_until(lambda: cluster.up() == serving, 60)
    load.more(100)
    assert (load.failures, load.retried) == ([], 0)
