"""Two data centres of Cassandra with a node each: one of them is lost, the other goes on, and then they agree again."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import FREQUENCY
from tests.gateway import Gateway
from tests.integration.stores import Commands
from tests.integration.support import Load
from tests.servers.cassandra import Cassandra
from tests.upstream import Upstream, plain
from tests.wire import wait_until

SOON = 60
LATER = 90
"""Seconds for Cassandra to find its lost node and to give it what it has missed."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def ring(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    return make_cassandra(data_centers={"east": 1, "west": 1})


@pytest.fixture(scope="module")
def nodes(ring: Cassandra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Gateway]]:
    """A node in each data centre, with everything that the tests use."""

    def settings(center: str) -> dict[str, str]:
        own = {"KONG_CASSANDRA_DATA_CENTERS": "east:1,west:1", "KONG_DB_UPDATE_FREQUENCY": FREQUENCY}
        return {**ring.settings("gateways", center), **own}

    with ExitStack() as stack, Upstream(plain(b"fine")) as upstream:
        commands = Commands(Path(tmp_path_factory.mktemp("centers"), "node"), settings("east"))
        stack.callback(commands.close)
        commands.done("migrations", "bootstrap", "-q")
        east, west = (stack.enter_context(Gateway(env=settings(center))) for center in ("east", "west"))
        east.create("/services", name="all", url=upstream.url)
        _route(east, "open")
        _route(east, "guarded", name="key-auth")
        for name, tolerant in (("strict", False), ("tolerant", True)):
            config = {"year": 1000, "policy": "cluster", "fault_tolerant": tolerant}
            _route(east, name, name="rate-limiting", config=config)
        east.create("/consumers", username="ann")
        for key in ("known", "unknown"):
            east.create("/consumers/ann/key-auth", key=key)
        wait_until(lambda: _status(west, "guarded", "known") == 200, SOON)
        yield east, west


def _route(node: Gateway, path: str, **plugin: Any) -> None:
    node.create("/services/all/routes", name=path, paths=[f"/{path}"])
    if plugin:
        node.create(f"/routes/{path}/plugins", **plugin)


def _status(node: Gateway, path: str, key: str = "") -> int:
    return node.get(f"/{path}", headers={"apikey": key}).status_code


def test_one_is_lost_and_comes_back(ring: Cassandra, nodes: tuple[Gateway, Gateway]) -> None:
    east, west = nodes
    for node in nodes:
        assert [_status(node, path, "known") for path in ("open", "guarded", "strict", "tolerant")] == [200] * 4
    (lost,) = ring.nodes_of("east")
    with Load(east, "/open") as at_east, Load(west, "/open") as at_west:
        lost.kill()

        # The data centre that is left: changes, look-ups, limits.
        west.create("/consumers", username="bea")
        west.create("/consumers/bea/key-auth", key="new")
        _route(west, "added")
        west.delete("/routes/strict")
        assert [_status(west, "added"), _status(west, "strict"), _status(west, "tolerant")] == [200, 404, 200]
        assert [_status(west, "guarded", key) for key in ("known", "unknown", "new", "nobody")] == [200, 200, 200, 401]
        assert west.admin("GET", "/consumers").status_code == 200
        assert west.is_ready()

        # The gateway that has lost its own: what it knows, and nothing is guessed.
        wait_until(lambda: not east.is_ready(), SOON)
        assert [_status(east, "guarded", key) for key in ("known", "unknown")] == [200, 503]
        wait_until(lambda: _status(east, "strict") == 500, SOON)
        assert [_status(east, "tolerant"), _status(east, "added")] == [200, 404]
        assert east.admin("POST", "/consumers", {"username": "eve"}).status_code == 503

        lost.start()
        wait_until(east.is_ready, LATER)
        wait_until(lambda: _status(east, "added") == 200, LATER)
        wait_until(lambda: _status(east, "strict") == 404, LATER)
        assert [_status(east, "guarded", key) for key in ("known", "unknown", "new", "nobody")] == [200, 200, 200, 401]
        at_east.more(20)
        at_west.more(20)
    assert (at_east.failures, at_west.failures) == ([], [])
    east.create("/consumers", username="eve")
    wait_until(lambda: west.admin("GET", "/consumers/eve").status_code == 200, SOON)
