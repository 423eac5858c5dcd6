"""Upstreams and targets: shares, retries, what is hashed, Host, and changes while traffic goes on."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway import Gateway, free_ports
from tests.integration.support import ask, client_of, in_thread
from tests.upstream import RESET, Pause, Upstream, answer, script
from tests.wire import Request, wait_until


@pytest.fixture(scope="module")
def node() -> Iterator[Gateway]:
    with Gateway(workers=2) as gateway:
        yield gateway


@pytest.fixture
def three(make_upstream: Callable[..., Upstream]) -> list[Upstream]:
    return [make_upstream() for _ in range(3)]


def place(upstream: Upstream) -> str:
    return upstream.url.removeprefix("http://")


def balance(
    node: Gateway, targets: dict[str, int], path: str = "/", route: dict[str, Any] | None = None, **fields: Any
) -> None:
    """An upstream with targets and their weights, and a route to it."""
    node.reset(("plugins", "routes", "services", "consumers", "upstreams"))
    node.create("/upstreams", name="pool.test", **fields)
    for target, weight in targets.items():
        node.create("/upstreams/pool.test/targets", target=target, weight=weight)
    node.create("/services", name="s", host="pool.test", port=9, path="/base", retries=5)
    node.create("/services/s/routes", paths=[path], **(route or {}))


def shares(node: Gateway, servers: list[Upstream], count: int, path: str = "/", **options: Any) -> list[int]:
    """How many of so many requests each server got; all are answered."""
    for server in servers:
        server.clear()
    for _ in range(count):
        assert node.get(path, **options).status_code == 200
    return [len(server.requests) for server in servers]


def test_shares_are_exact(gateway: Gateway, three: list[Upstream]) -> None:
    one, two, three_ = three
    balance(gateway, {place(one): 20, place(two): 10, place(three_): 0})
    assert shares(gateway, three, 60) == [40, 20, 0]


def test_the_host_is_the_targets_or_what_is_wanted(node: Gateway, three: list[Upstream]) -> None:
    target = place(three[0]).replace("127.0.0.1", "localhost")

    def host() -> str:
        sent = dict(node.get("/x", headers={"Host": "client.test"}).json()["headers"])
        return str(next(value for name, value in sent.items() if name.lower() == "host"))

    balance(node, {target: 1})
    assert host() == target
    balance(node, {target: 1}, host_header="api.test")
    assert host() == "api.test"
    balance(node, {target: 1}, host_header="api.test", route={"preserve_host": True})
    assert host() == "client.test"


def test_a_dead_target_costs_no_request(node: Gateway, three: list[Upstream]) -> None:
    (dead,) = free_ports(1)
    balance(node, {place(three[0]): 1, f"127.0.0.1:{dead}": 1, place(three[1]): 1})
    assert sum(shares(node, three, 30)) == 30


def test_nobody_can_take_it(node: Gateway) -> None:
    balance(node, {})
    answer = node.get("/")
    assert answer.status_code == 503
    assert answer.json()["message"] == "failure to get a peer from the ring-balancer"
    (dead,) = free_ports(1)
    balance(node, {f"127.0.0.1:{dead}": 1})
    assert node.get("/").status_code == 502


def test_targets_come_and_go_while_traffic_goes_on(node: Gateway, three: list[Upstream]) -> None:
    one, two, _ = three
    balance(node, {place(one): 1})
    assert shares(node, three, 10) == [10, 0, 0]
    node.create("/upstreams/pool.test/targets", target=place(two), weight=1)
    assert all(shares(node, three, 20)[:2])
    node.delete(f"/upstreams/pool.test/targets/{place(one)}")
    assert shares(node, three, 10) == [0, 10, 0]
    node.change(f"/upstreams/pool.test/targets/{place(two)}", weight=0)
    assert node.get("/").status_code == 503


def test_a_service_follows_the_upstream_that_gets_its_name(node: Gateway, three: list[Upstream]) -> None:
    node.reset(("plugins", "routes", "services", "consumers", "upstreams"))
    node.create("/services", name="s", host="later.test", port=9)
    node.create("/services/s/routes", paths=["/"])
    assert node.get("/").status_code >= 500  # no such name
    node.create("/upstreams", name="later.test")
    node.create("/upstreams/later.test/targets", target=place(three[0]))
    assert node.get("/").status_code == 200
    node.delete("/upstreams/later.test")
    assert node.get("/").status_code >= 500


@pytest.mark.parametrize(
    ("settings", "path", "same", "other"),
    [
        ({"hash_on": "header", "hash_on_header": "X-Key"}, "/", {"headers": {"X-Key": "{}"}}, None),
        ({"hash_on": "path"}, "/", None, "/{}"),
        ({"hash_on": "query_arg", "hash_on_query_arg": "k"}, "/", {"params": {"k": "{}"}}, None),
        ({"hash_on": "uri_capture", "hash_on_uri_capture": "id"}, "~/(?<id>.+)$", None, "/{}"),
        (
            {
                "hash_on": "header",
                "hash_on_header": "X-None",
                "hash_fallback": "query_arg",
                "hash_fallback_query_arg": "k",
            },
            "/",
            {"params": {"k": "{}"}},
            None,
        ),
    ],
)
def test_what_is_hashed(
    node: Gateway, three: list[Upstream], settings: dict[str, str], path: str, same: Any, other: str | None
) -> None:
    balance(node, {place(server): 100 for server in three}, path=path, **settings)
    reached: Counter[int] = Counter()
    for number in range(20):
        filled = {
            part: {key: value.format(number) for key, value in given.items()} for part, given in (same or {}).items()
        }
        found = shares(node, three, 3, (other or "/x").format(number), **filled)
        assert sorted(found) == [0, 0, 3]
        reached[found.index(3)] += 1
    assert len(reached) == 3


def test_the_clients_address_leads_to_one(node: Gateway, three: list[Upstream]) -> None:
    balance(node, {place(server): 100 for server in three}, hash_on="ip")
    assert sorted(shares(node, three, 10)) == [0, 0, 10]


def test_a_cookie_is_set_and_leads_to_one(node: Gateway, three: list[Upstream]) -> None:
    balance(node, {place(server): 100 for server in three}, hash_on="cookie", hash_on_cookie="lb")
    cookie = node.get("/").headers["Set-Cookie"]
    assert cookie.startswith("lb=")
    assert cookie.endswith("; Path=/; SameSite=Lax; HttpOnly")
    sent = {"Cookie": cookie.partition(";")[0]}
    assert sorted(shares(node, three, 10, headers=sent)) == [0, 0, 10]
    assert "Set-Cookie" not in node.get("/", headers=sent).headers


@pytest.mark.parametrize("algorithm", ["least-connections", "latency"])
def test_other_algorithms_reach_all(node: Gateway, three: list[Upstream], algorithm: str) -> None:
    balance(node, {place(server): 100 for server in three}, algorithm=algorithm)
    assert sum(shares(node, three, 30)) == 30
    assert wait_until(lambda: node.get("/").status_code == 200)


def test_the_last_target_goes(node: Gateway, three: list[Upstream]) -> None:
    balance(node, {place(three[0]): 1})
    assert node.get("/").status_code == 200
    node.delete(f"/upstreams/pool.test/targets/{place(three[0])}")
    assert node.get("/").status_code == 503


def test_a_consumer_stays_at_one(node: Gateway, three: list[Upstream]) -> None:
    settings = {"hash_on": "consumer", "hash_fallback": "header", "hash_fallback_header": "X-Key"}
    balance(node, {place(server): 100 for server in three}, **settings)
    node.create("/services/s/plugins", name="key-auth")
    reached: Counter[int] = Counter()
    for number in range(12):
        node.create("/consumers", username=f"consumer-{number}")
        node.create(f"/consumers/consumer-{number}/key-auth", key=f"key-{number}")
        counts = [0, 0, 0]
        for turn in range(3):
            headers = {"apikey": f"key-{number}", "X-Key": str(turn)}
            counts = [sum(pair) for pair in zip(counts, shares(node, three, 1, headers=headers), strict=True)]
        assert sorted(counts) == [0, 0, 3]
        reached[counts.index(3)] += 1
    assert len(reached) > 1


def test_weights_hold_over_all_workers(three: list[Upstream]) -> None:
    """Within 1 per cent of all requests, however they are spread over the workers."""
    with Gateway(workers=4) as gateway:
        balance(gateway, {place(server): weight for server, weight in zip(three, (50, 30, 20), strict=True)})
        assert gateway.get("/").status_code == 200
        with ExitStack() as stack:
            clients = [stack.enter_context(client_of(gateway, pid)) for pid in gateway.worker_pids()]
            for server in three:
                server.clear()
            for number in range(1000):  # some workers get more than others, and none of them whole turns only
                assert ask(clients[number % 7 % 4], "GET", "/").status == 200
        counts = [len(server.requests) for server in three]
    assert all(abs(count - share) <= 10 for count, share in zip(counts, (500, 300, 200), strict=True)), counts


def test_who_is_busy_gets_nothing(gateway: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    """least-connections: whoever holds a request gets no other while somebody is free."""
    free = threading.Event()

    def hold(_: Request) -> bytes:
        free.wait(60)
        return answer(200, b"late")

    busy, idle = make_upstream(hold), make_upstream()
    balance(gateway, {place(busy): 100, place(idle): 100}, algorithm="least-connections")
    try:
        with ExitStack() as stack:
            held = stack.enter_context(in_thread(lambda: [gateway.get("/").status_code for _ in range(2)]))
            wait_until(lambda: busy.requests, 30)
            idle.clear()
            assert [gateway.get("/").status_code for _ in range(20)] == [200] * 20
            assert (len(busy.requests), len(idle.requests) >= 20) == (1, True)
            free.set()
        assert held == [[200, 200]]
    finally:
        free.set()


def test_who_is_slow_gets_little(gateway: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    slow, fast = make_upstream(script(Pause(1.5), answer(200, b"slow"))), make_upstream()
    balance(gateway, {place(slow): 100, place(fast): 100}, algorithm="latency")
    wait_until(lambda: gateway.get("/").status_code == 200 and slow.requests and fast.requests, 30)
    slow.clear()
    assert [gateway.get("/").status_code for _ in range(20)] == [200] * 20
    assert len(slow.requests) <= 2


def test_what_is_tried_again_elsewhere(gateway: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    """A request that cannot have been seen, or that may come twice; another one is not sent to a second target."""
    (dead,) = free_ports(1)
    broken, good = make_upstream(script(RESET)), make_upstream()
    balance(gateway, {f"127.0.0.1:{dead}": 100, place(good): 100})
    assert {gateway.session.post(gateway.proxy_url, data=b"x").status_code for _ in range(10)} == {200}
    balance(gateway, {place(broken): 100, place(good): 100})
    assert {gateway.session.put(gateway.proxy_url, data=b"x").status_code for _ in range(10)} == {200}
    assert sorted(gateway.session.post(gateway.proxy_url, data=b"x").status_code for _ in range(10)) == [
        *[200] * 5,
        *[502] * 5,
    ]
