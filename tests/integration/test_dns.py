"""Names of services and targets through a real gateway: records of all kinds, changes, and name servers that fail."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dnsserver import NameServer
from tests.gateway import Gateway, free_ports
from tests.integration.support import Load, ask, client_of
from tests.upstream import Upstream, plain
from tests.wire import wait_until

SOON = 30
POOL = "/upstreams/pool.test"


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


@pytest.fixture(scope="module")
def node(names: NameServer) -> Iterator[Gateway]:
    (dead,) = free_ports(1)
    env = {"dns_resolver": f"127.0.0.1:{dead},{names.address}", "dns_not_found_ttl": "1"}
    with Gateway(workers=2, env=env) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _clean(names: NameServer, request: pytest.FixtureRequest) -> None:
    names.mode, names.delay = "", 0.0
    if "node" in request.fixturenames:
        request.getfixturevalue("node").reset(("plugins", "routes", "services", "upstreams"))


def message(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["message"]


def test_a_service_at_a_name_with_several_addresses(node: Gateway, names: NameServer) -> None:
    names.put("several.test", "A", "127.0.0.2", "127.0.0.3")
    with Upstream(host="127.0.0.3") as alive:
        node.route(f"http://several.test:{alive.port}")
        assert [node.get("/").status_code for _ in range(8)] == [200] * 8, "the dead address costs a try only"


def test_a_service_at_servers_with_weights(node: Gateway, names: NameServer) -> None:
    names.put("at.servers.test", "A", "127.0.0.1")
    with Upstream() as one, Upstream() as two, Upstream() as never:
        records = [f"1 30 {one.port} at.servers.test.", f"1 10 {two.port} at.servers.test."]
        names.put("servers.test", "SRV", *records, f"2 90 {never.port} at.servers.test.")
        node.route("http://servers.test:9")
        with node.client() as client:
            for _ in range(40):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")
                assert client.answer().status == 200
        assert (len(one.requests), len(two.requests), len(never.requests)) == (30, 10, 0)
        assert dict(one.requests[0].headers)["Host"] == f"servers.test:{one.port}"


def test_a_name_that_does_not_exist(node: Gateway) -> None:
    node.route("http://nowhere.test")
    assert message(node.get("/")) == (503, "name resolution failed")


def test_no_name_server_can_tell(node: Gateway, names: NameServer) -> None:
    names.mode = "servfail"
    node.route("http://unknown.test")
    assert message(node.get("/")) == (500, "An unexpected error occurred")


def test_aliases_and_long_answers(node: Gateway, names: NameServer) -> None:
    names.put("alias.test", "CNAME", "further.test.")
    names.put("further.test", "CNAME", "end.test.")
    names.put("end.test", "A", "127.0.0.1")
    names.mode = "truncate"
    before = names.over_tcp
    with Upstream() as upstream:
        node.route(f"http://alias.test:{upstream.port}")
        assert node.get("/").status_code == 200
    assert names.over_tcp > before


def balance(node: Gateway, *targets: str, **fields: Any) -> None:
    node.create("/upstreams", name="pool.test", **fields)
    for target in targets:
        node.create(f"{POOL}/targets", target=target, weight=100)
    node.create("/services", name="s", host="pool.test", retries=5)
    node.create("/services/s/routes", paths=["/"])


def data_of(node: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = node.admin("GET", f"{POOL}/health").json()["data"][0]
    return found


@pytest.mark.parametrize("srv_name", [False, True])
def test_a_target_with_servers(node: Gateway, names: NameServer, srv_name: bool) -> None:
    target = f"target{int(srv_name)}.test"
    names.put("one.servers.test", "A", "127.0.0.1")
    names.put("two.servers.test", "A", "127.0.0.1")
    with Upstream() as one, Upstream() as two:
        names.put(target, "SRV", f"1 3 {one.port} one.servers.test.", f"1 0 {two.port} two.servers.test.")
        balance(node, target, use_srv_name=srv_name)
        assert all(node.get("/").status_code == 200 for _ in range(24))
        assert len(one.requests) > len(two.requests) > 0
        assert dict(one.requests[0].headers)["Host"] == f"{'one.servers.test' if srv_name else target}:{one.port}"
        found = data_of(node)["data"]
        assert found["dns"] == "SRV"
        assert {(each["port"], each["weight"]) for each in found["addresses"]} == {(one.port, 3), (two.port, 1)}


def test_records_change_and_traffic_moves(node: Gateway, names: NameServer) -> None:
    names.put("moves.test", "A", "127.0.0.2", ttl=1)
    with Upstream(plain(b"old"), host="127.0.0.2") as old, Upstream(plain(b"new"), host="127.0.0.3", port=old.port):
        balance(node, f"moves.test:{old.port}")
        assert node.get("/").content == b"old"
        names.put("moves.test", "A", "127.0.0.3", ttl=1)
        wait_until(lambda: all(node.get("/").content == b"new" for _ in range(8)), SOON)
        wait_until(lambda: [each["ip"] for each in data_of(node)["data"]["addresses"]] == ["127.0.0.3"], SOON)


@pytest.mark.parametrize("mode", ["drop", "servfail"])
@pytest.mark.parametrize("kind", ["service", "target", "target-once"])
def test_name_servers_that_fail_cost_no_request(node: Gateway, names: NameServer, mode: str, kind: str) -> None:
    name = f"{kind}.{mode}.test"
    names.put(name, "A", "127.0.0.1", ttl=0 if kind == "target-once" else 1)
    with Upstream(plain()) as upstream:
        if kind == "service":
            node.route(f"http://{name}:{upstream.port}")
        else:
            balance(node, f"{name}:{upstream.port}")
        for pid in node.worker_pids():
            with client_of(node, pid) as worker:
                assert ask(worker, "GET", "/").status == 200
        asked = names.asked[name, "A"]
        names.mode = mode
        with Load(node, "/") as load:
            wait_until(lambda: names.asked[name, "A"] >= asked + 3, SOON)
            load.more(300)
        assert load.failures == []


def test_a_target_without_address_and_one_with(
    node: Gateway, names: NameServer, make_upstream: Callable[..., Upstream]
) -> None:
    upstream = make_upstream()
    balance(node, "lost.test:80", f"127.0.0.1:{upstream.port}")
    assert [node.get("/").status_code for _ in range(6)] == [200] * 6
    found = {each["target"]: each for each in node.admin("GET", f"{POOL}/health").json()["data"]}
    assert (found["lost.test:80"]["health"], found["lost.test:80"]["data"]["addresses"]) == ("DNS_ERROR", [])


def test_records_of_one_use(node: Gateway, names: NameServer) -> None:
    names.put("once.test", "A", "127.0.0.1", ttl=0)
    with Upstream() as upstream:
        balance(node, f"once.test:{upstream.port}")
        assert all(node.get("/").status_code == 200 for _ in range(10))
        assert names.asked["once.test", "A"] >= 10
        assert data_of(node)["data"]["dns"] == "ttl=0, virtual SRV"
        assert dict(upstream.requests[0].headers)["Host"] == f"once.test:{upstream.port}"


def test_the_second_resolvers_settings(names: NameServer) -> None:
    names.put("six.test", "AAAA", "::1")
    names.put("six.test", "A", "127.0.0.1")
    env = {"new_dns_client": "on", "resolver_address": names.address, "resolver_family": "A"}
    with Gateway(env=env) as gateway, Upstream() as upstream:
        gateway.route(f"http://six.test:{upstream.port}")
        assert gateway.get("/").status_code == 200
        assert names.asked["six.test", "A"] == 1
        assert not names.asked["six.test", "SRV"] + names.asked["six.test", "AAAA"]
        told = gateway.session.get(gateway.status_url + "/status/dns").json()
        assert told["worker"]["count"] == 1
        known = told["stats"]["services"]["six.test"]
        assert known.pop("ttl") > 3000
        assert known == {"query": 1, "query_succ": 1, "query_fail": 0, "type": "A", "records": 1, "stale": False}
        assert gateway.admin("GET", "/status/dns").json()["stats"].keys() == {"services", "addresses"}


def test_a_worker_that_never_saw_a_name_while_name_servers_are_dead() -> None:
    """500, and 503 for what nobody has to be asked about; when they are back, so is the service."""
    with NameServer() as server, Upstream() as upstream, Gateway(env={"dns_resolver": server.address}) as gateway:
        server.mode = "drop"
        server.put("late.test", "A", "127.0.0.1")
        gateway.route(f"http://late.test:{upstream.port}", paths=["/service"])
        assert message(gateway.get("/service")) == (500, "An unexpected error occurred")
        gateway.create("/upstreams", name="pool.test")
        gateway.create(f"{POOL}/targets", target=f"late.test:{upstream.port}")
        gateway.route("http://pool.test", paths=["/target"])
        assert message(gateway.get("/target")) == (503, "failure to get a peer from the ring-balancer")
        server.mode = ""
        for path in ("/service", "/target"):
            wait_until(lambda path=path: gateway.get(path).status_code == 200, SOON)
        server.remove("late.test")
        gateway.route("http://gone.test", paths=["/gone"])
        assert message(gateway.get("/gone")) == (503, "name resolution failed")
