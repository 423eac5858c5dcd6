"""rate-limiting with one limit for several nodes: policy `redis`, counted at once or told in batches."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from tests.cluster.conftest import FREQUENCY
from tests.cluster.counting import Limit
from tests.gateway import Gateway
from tests.servers.redis import Redis
from tests.upstream import Upstream
from tests.wire import wait_until

SOON = 60
TIMEOUT = 200
"""Milliseconds for which a request waits for Redis."""
BATCHED = 0.1
Make = Callable[..., Limit]


@pytest.fixture(scope="module")
def server(make_redis: Callable[..., Redis]) -> Redis:
    """A server that takes nothing but TLS, with a user who may do what limits need, as their page says."""
    rights = "~ratelimit:* +get +set +incr +incrby +expire +ping"
    return make_redis(password="main", users=[f"limits on >secret {rights}"], tls=True)


@pytest.fixture(scope="module")
def nodes(server: Redis) -> Iterator[tuple[Gateway, Gateway]]:
    """Two nodes with one configuration; the second has two workers."""
    with ExitStack() as stack:
        env = {"db_update_frequency": FREQUENCY, "lua_ssl_trusted_certificate": str(server.certificates.ca)}
        first = stack.enter_context(Gateway(env=env))
        env["sqlite_path"] = str(first.prefix / "kong.sqlite3")
        yield first, stack.enter_context(Gateway(env=env, workers=2))


@pytest.fixture
def limit(nodes: tuple[Gateway, Gateway], server: Redis, upstream: Upstream) -> Make:
    """Make a limit on a route of its own, in force on both nodes."""

    def make(year: int, *, redis: dict[str, Any] | None = None, wait: bool = True, **config: Any) -> Limit:
        name = f"r{next(_NUMBERS)}"
        record = {
            "host": server.address, "port": server.port, "timeout": TIMEOUT, "ssl": True, "ssl_verify": True,
            "username": "limits", "password": "secret", **(redis or {}),
        }  # fmt: skip
        path = f"/{name}-"  # no other route's path begins with it
        nodes[0].route(upstream.url, name=name, paths=[path])
        config = {"year": year, "policy": "redis", "redis": record, **config}
        nodes[0].create(f"/routes/{name}/plugins", name="rate-limiting", config=config)
        made = Limit(path, year)
        if wait:
            made.wait_until_in_force(nodes[1])
        else:
            wait_until(lambda: nodes[1].get(made.path).status_code != 404, SOON)
        return made

    return make


_NUMBERS = count(1)


def test_nodes_share_one_limit_exactly(nodes: tuple[Gateway, Gateway], limit: Make) -> None:
    shared = limit(12)
    answers = [nodes[number % 2].get(shared.path) for number in range(14)]
    passed = 12 - shared.passed
    assert [answer.status_code for answer in answers] == [200] * passed + [429] * (14 - passed)
    assert [answer.headers["X-RateLimit-Remaining-Year"] for answer in answers[:passed]] == [
        str(left) for left in reversed(range(passed))
    ]


def test_or_after_a_synchronisation(nodes: tuple[Gateway, Gateway], limit: Make) -> None:
    shared = limit(400, sync_rate=BATCHED)
    for node in (*nodes, *nodes):
        shared.ask(node, 5)
        shared.settle(nodes[1])
        shared.settle(nodes[0])
    shared.exhaust(nodes[0])
    assert shared.passed == 400
    wait_until(lambda: nodes[1].get(shared.path).status_code == 429, SOON)


@pytest.mark.parametrize(
    ("redis", "reason"),
    [
        ({"password": "wrong"}, "invalid username-password"),
        ({"username": None, "password": None}, "NOAUTH"),
        ({"ssl": False, "ssl_verify": False}, "cannot be used"),
        ({"server_name": "other.test"}, "certificate"),
    ],
    ids=["wrong password", "no login", "clear text", "another name in the certificate"],
)
def test_a_server_that_refuses_is_as_one_that_is_away(
    nodes: tuple[Gateway, Gateway], limit: Make, redis: dict[str, Any], reason: str
) -> None:
    tolerant, strict = (limit(5, redis=redis, wait=False, fault_tolerant=tolerates) for tolerates in (True, False))
    for node in nodes:
        answer = node.get(tolerant.path)
        assert (answer.status_code, [name for name in answer.headers if "ratelimit" in name.lower()]) == (200, [])
        # The route reaches the second node before its plugin may.
        wait_until(lambda node=node: node.get(strict.path).status_code == 500, SOON)
        assert node.get(strict.path).json()["message"] == "An unexpected error occurred"
        wait_until(lambda node=node: reason in node.log(), SOON)


@pytest.mark.parametrize("rate", [-1, BATCHED])
@pytest.mark.parametrize("fault", ["frozen", "killed"])
def test_a_server_that_is_lost_and_comes_back(
    nodes: tuple[Gateway, Gateway], server: Redis, limit: Make, fault: str, rate: float
) -> None:
    tolerant, strict = (limit(1000, sync_rate=rate, fault_tolerant=tolerates) for tolerates in (True, False))
    try:
        server.pause() if fault == "frozen" else server.kill()
        for node in nodes:
            wait_until(lambda node=node: node.get(strict.path).status_code == 500, SOON)
            wait_until(lambda node=node: "X-RateLimit-Limit-Year" not in node.get(tolerant.path).headers, SOON)
            for _ in range(3):
                assert node.get(tolerant.path).status_code == 200
                assert node.get(strict.path).status_code == 500
    finally:
        server.resume() if fault == "frozen" else server.start()
    for node in nodes:
        wait_until(lambda node=node: node.get(strict.path).status_code == 200, SOON)
        wait_until(lambda node=node: "X-RateLimit-Limit-Year" in node.get(tolerant.path).headers, SOON)
