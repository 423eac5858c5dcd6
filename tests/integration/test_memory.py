"""Memory of a worker: at rest, with many idle clients, and after a lot of work of every kind."""

import resource
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, ask_once, head, resident
from tests.upstream import CLOSE, Upstream, by_path, plain, script

IDLE = 2000
KIB = 1024


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(
        by_path({"/cut": script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", CLOSE)}, plain(b"x" * 1024))
    ) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    with Gateway(env={"proxy_access_log": "logs/access.log"}) as node:
        node.route(upstream.url)
        yield node


def test_a_worker_with_one_route(gateway: Gateway) -> None:
    (pid,) = gateway.worker_pids()
    for _ in range(20):
        assert gateway.get("/").status_code == 200
        assert gateway.admin("GET", "/routes").status_code == 200
    assert resident(pid) <= 60 * MIB


def test_idle_clients(gateway: Gateway) -> None:
    (pid,) = gateway.worker_pids()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < IDLE + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE + 500), hard))
    with ExitStack() as stack:
        for _ in range(100):  # what the first clients cost is not the clients' own
            assert ask(stack.enter_context(gateway.client()), "GET", "/").status == 200
        before = resident(pid)
        clients = [stack.enter_context(gateway.client(timeout=60)) for _ in range(IDLE)]
        for client in clients:
            assert ask(client, "GET", "/", "User-Agent: " + "x" * 500).status == 200
        each = (resident(pid) - before) / IDLE
        assert each < 25 * KIB, f"{each / KIB:.1f} KiB"
        for client in clients[::100]:
            assert ask(client, "GET", "/").status == 200, "they are all still served"


def test_clients_that_say_nothing(gateway: Gateway) -> None:
    (pid,) = gateway.worker_pids()
    with ExitStack() as stack:
        before = resident(pid)
        for _ in range(1000):
            stack.enter_context(gateway.client()).send(b"GET / HT")
        assert ask_once(gateway, "GET", "/").status == 200
        assert (resident(pid) - before) / 1000 < 25 * KIB


def test_much_work_leaves_nothing_behind(gateway: Gateway) -> None:
    """Ordinary and refused requests, cut answers, clients that leave: after a first round it costs nothing more."""
    (pid,) = gateway.worker_pids()
    _work(gateway, 300)
    before = resident(pid)
    _work(gateway, 1500)
    assert resident(pid) - before < 3 * MIB


def _work(gateway: Gateway, rounds: int) -> None:
    for number in range(rounds):
        with gateway.client() as client:
            assert ask(client, "GET", f"/{number}?{number}").status == 200
            assert ask(client, "POST", "/", body=b"x" * 20_000).status == 200
            client.send(b"GET /x HTTP/1.1\r\n\r\n")
            assert client.answer().status == 400
        with gateway.client() as client:
            client.send(head("GET", "/cut"))
            client.stream.fill()
        with gateway.client() as client:
            client.send(head("POST", "/", "Content-Length: 100000") + b"x")


def test_configuration_that_comes_and_goes(gateway: Gateway, upstream: Upstream) -> None:
    (pid,) = gateway.worker_pids()
    _configure(gateway, upstream, 40)
    before = resident(pid)
    _configure(gateway, upstream, 160)
    assert resident(pid) - before < 3 * MIB


def _configure(gateway: Gateway, upstream: Upstream, rounds: int) -> None:
    for number in range(rounds):
        route = gateway.route(upstream.url, paths=[f"/c{number}"])
        gateway.create(f"/routes/{route['id']}/plugins", name="correlation-id")
        assert ask_once(gateway, "GET", f"/c{number}").status == 200
        gateway.delete(f"/routes/{route['id']}")
        gateway.delete(f"/services/{route['service']['id']}")
