"""Rate limits are exact over the workers of a node, however many clients come at once."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.gateway import Gateway
from tests.upstream import Upstream, plain
from tests.wire import wait_until

WORKERS = 4
CLIENTS = 200
LIMIT = 100


@pytest.fixture(scope="module")
def node() -> Iterator[Gateway]:
    with Gateway(workers=WORKERS) as gateway:
        wait_until(lambda: len(gateway.admin("GET", "/status").json()["memory"]["workers_lua_vms"]) == WORKERS)
        yield gateway


@pytest.fixture(scope="module")
def backend() -> Iterator[Upstream]:
    with Upstream(plain(b"ok")) as server:
        yield server


def storm(node: Gateway, path: str, requests_each: int) -> list[tuple[int, str]]:
    """Status and remaining number of each answer, from `CLIENTS` connections that start together."""
    start = Barrier(CLIENTS)

    def client() -> list[tuple[int, str]]:
        answers = []
        with node.client(60) as connection:
            start.wait(60)
            for _ in range(requests_each):
                connection.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
                answer = connection.answer()
                answers.append((answer.status, answer.get("RateLimit-Remaining") or ""))
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [answer for found in [pool.submit(client) for _ in range(CLIENTS)] for answer in found.result()]


@pytest.mark.parametrize("requests_each", [1, 3])
def test_exactly_the_limit_passes(node: Gateway, backend: Upstream, requests_each: int) -> None:
    path = f"/limited-{requests_each}"
    route = node.route(backend.url, paths=[path])
    node.create("/plugins", name="rate-limiting", route={"id": route["id"]}, config={"year": LIMIT, "limit_by": "ip"})
    node.create("/plugins", name="correlation-id", route={"id": route["id"]}, config={"generator": "uuid#counter"})
    backend.clear()
    answers = storm(node, path, requests_each)
    assert Counter(status for status, _ in answers) == {200: LIMIT, 429: CLIENTS * requests_each - LIMIT}
    assert len(backend.requests) == LIMIT
    workers = {(request.get("Kong-Request-ID") or "").partition("#")[0] for request in backend.requests}
    assert len(workers) > 1
    remaining = sorted(int(left) for status, left in answers if status == 200)
    assert remaining == list(range(LIMIT))


def test_two_windows_are_one_decision(node: Gateway, backend: Upstream) -> None:
    route = node.route(backend.url, paths=["/two"])
    config = {"month": LIMIT // 2, "year": LIMIT, "limit_by": "ip"}
    node.create("/plugins", name="rate-limiting", route={"id": route["id"]}, config=config)
    answers = storm(node, "/two", 1)
    assert Counter(status for status, _ in answers) == {200: LIMIT // 2, 429: CLIENTS - LIMIT // 2}
    after = node.get("/two")
    assert after.headers["X-RateLimit-Remaining-Year"] == str(LIMIT // 2)
