"""rate-limiting with one limit for several nodes: policy `cluster` on every datastore."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import FREQUENCY, Pair
from tests.cluster.counting import Limit
from tests.gateway import Gateway
from tests.integration.stores import Commands
from tests.servers.postgres import Postgres
from tests.upstream import Upstream
from tests.wire import wait_until

SOON = 60


@pytest.fixture
def limit(pair: Pair, upstream: Upstream, request: pytest.FixtureRequest) -> Callable[..., Limit]:
    """Make a limit on a route of its own, in force on both nodes."""
    name = request.node.name.partition("[")[0].replace("_", "-")

    def make(year: int, **config: Any) -> Limit:
        pair.first.route(upstream.url, name=name, paths=[f"/{name}"])
        config = {"year": year, "policy": "cluster", **config}
        pair.first.create(f"/routes/{name}/plugins", name="rate-limiting", config=config)
        made = Limit(f"/{name}", year)
        made.wait_until_in_force(pair.second)
        return made

    return make


def test_nodes_share_one_limit(pair: Pair, limit: Callable[..., Limit]) -> None:
    """Exactly so when counts have had the time to reach the other node."""
    first, second = pair.both
    shared = limit(400)
    for node in (first, second, first, second):
        shared.ask(node, 5)
        shared.settle(second)
        shared.settle(first)
    shared.exhaust(first)
    assert shared.passed == 400
    wait_until(lambda: second.get(shared.path).status_code == 429, SOON)


def test_no_count_is_lost_when_all_count_at_once(pair: Pair, limit: Callable[..., Limit]) -> None:
    shared = limit(10_000)
    threads = [threading.Thread(target=shared.ask, args=(node, 50)) for node in pair.both for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.passed >= 400
    shared.settle(pair.first)
    shared.settle(pair.second)


def test_at_most_each_node_passes_the_limit_once(pair: Pair, limit: Callable[..., Limit]) -> None:
    """However fast requests come: the worst case of counts that nobody has told yet."""
    shared = limit(40)
    threads = [threading.Thread(target=shared.exhaust, args=(node,)) for node in pair.both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 40 <= shared.passed <= 80


def test_a_node_that_leaves_tells_its_counts_first(pair: Pair, limit: Callable[..., Limit]) -> None:
    shared = limit(1000)
    third = pair.node()
    shared.ask(third, 20)
    third.stop()
    shared.settle(pair.first)


@pytest.fixture
def lonely(
    make_postgres: Callable[..., Postgres], tmp_path: Path, upstream: Upstream
) -> Iterator[tuple[Gateway, Postgres]]:
    """A node with a route for each way of `fault_tolerant`, and its datastore."""
    server = make_postgres()
    server.create_database("limits")
    with ExitStack() as stack:
        commands = Commands(tmp_path / "node", server.settings("limits"))
        stack.callback(commands.close)
        commands.done("migrations", "bootstrap", "-q")
        env = {**server.settings("limits"), "KONG_DB_UPDATE_FREQUENCY": FREQUENCY}
        node = stack.enter_context(Gateway(env=env))
        for path, tolerant in (("tolerant", True), ("strict", False)):
            node.route(upstream.url, name=path, paths=[f"/{path}"])
            config = {"year": 1000, "policy": "cluster", "fault_tolerant": tolerant}
            node.create(f"/routes/{path}/plugins", name="rate-limiting", config=config)
        yield node, server


def test_without_the_store_requests_pass_or_end_with_an_error_until_it_is_back(
    lonely: tuple[Gateway, Postgres],
) -> None:
    node, server = lonely
    tolerant, strict = Limit("/tolerant", 1000), Limit("/strict", 1000)
    tolerant.ask(node, 3)
    strict.ask(node, 3)
    server.stop()
    wait_until(lambda: node.get("/strict").status_code == 500, SOON)
    refused = node.get("/strict")
    assert refused.json()["message"] == "An unexpected error occurred"
    assert [name for name in refused.headers if "ratelimit" in name.lower()] == []
    for _ in range(5):
        tolerant.ask(node, 1)
        assert node.get("/strict").status_code == 500
    assert tolerant.left(node) == 1000 - tolerant.passed
    server.start()
    wait_until(lambda: node.get("/strict").status_code == 200, SOON)
    tolerant.ask(node, 3)
    assert tolerant.left(node) == 1000 - tolerant.passed
