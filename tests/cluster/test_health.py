"""Health that is set by hand at one node holds on all; health that a node finds out is its own."""

from typing import Any

from tests.cluster.conftest import Pair
from tests.gateway import Gateway
from tests.upstream import Upstream
from tests.wire import wait_until

SOON = 60


def health(node: Gateway) -> Any:
    answer = node.admin("GET", "/upstreams/pool.test/health").json()
    return answer["data"][0]["health"] if answer.get("data") else None


def test_health_set_at_one_node_holds_on_the_other(pair: Pair, upstream: Upstream) -> None:
    first, second = pair.both
    target = upstream.url.removeprefix("http://")
    first.create("/upstreams", name="pool.test", healthchecks={"passive": {"unhealthy": {"http_failures": 1}}})
    first.create("/upstreams/pool.test/targets", target=target)
    wait_until(lambda: health(second) == "HEALTHY", SOON)
    for node, other, word in ((first, second, "unhealthy"), (second, first, "healthy")):
        assert node.admin("PUT", f"/upstreams/pool.test/targets/{target}/{word}").status_code == 204
        assert health(node) == word.upper()
        wait_until(lambda other=other, word=word: health(other) == word.upper(), SOON)  # type: ignore[misc]
