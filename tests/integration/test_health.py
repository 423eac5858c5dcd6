"""Health checks over two workers: passive and active ones, health set by hand, thresholds, and a target that dies."""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import ROOT, Gateway, free_ports
from tests.integration.support import Load, ask, client_of
from tests.integration.test_balancing import balance, place, shares
from tests.pki import pair
from tests.upstream import CLOSE, Pause, Upstream, answer, by_path, plain, script
from tests.wire import wait_until

SERVER = """
import ssl, sys, time
from tests.upstream import Upstream, plain
port, *files = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if files else None
if context:
    context.load_cert_chain(*files)
upstream = Upstream(plain(port.encode()), port=int(port), tls=context)
time.sleep(900)
"""
OFTEN = 0.1
POOL = "/upstreams/pool.test"
SOON = 60


class Target:
    """A server that is a process of its own, so that it can be killed; it answers with its port.

    `files`: certificate and key, for TLS.
    """

    def __init__(self, port: int, files: Sequence[Path] = ()) -> None:
        self.port = port
        self.files = files
        self.start()

    def start(self) -> None:
        arguments = [str(self.port), *map(str, self.files)]
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, *arguments], cwd=ROOT)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def node() -> Iterator[Gateway]:
    with Gateway(workers=2) as gateway:
        yield gateway


def passive(**unhealthy: Any) -> dict[str, Any]:
    return {"passive": {"unhealthy": unhealthy}}


def active(**given: Any) -> dict[str, Any]:
    good = {"interval": OFTEN, "successes": 1}
    bad = {"interval": OFTEN, "http_failures": 1, "tcp_failures": 1}  # no timeouts: the machine may be busy
    return {"active": {"timeout": 1, "healthy": good, "unhealthy": bad, **given}}


def healths(node: Gateway) -> dict[str, str]:
    return {item["target"]: item["health"] for item in node.admin("GET", f"{POOL}/health").json()["data"]}


def overall(node: Gateway) -> dict[str, Any]:
    data: dict[str, Any] = node.admin("GET", f"{POOL}/health?balancer_health=1").json()["data"]
    return data


def put(node: Gateway, target: str, word: str) -> Any:
    return node.admin("PUT", f"{POOL}/targets/{target}/{word}")


@pytest.mark.parametrize("kind", ["http", "https", "tcp"])
def test_a_target_that_is_killed_costs_no_request_and_comes_back(node: Gateway, kind: str, tmp_path: Path) -> None:
    """It gets its share again once the checks have found it well."""
    files = pair("localhost").files(tmp_path) if kind == "https" else ()
    targets = [Target(port, files) for port in free_ports(3)]
    with ExitStack() as stack:
        for target in targets:
            stack.callback(target.kill)
            wait_until(target.listens, SOON)
        places = [f"127.0.0.1:{target.port}" for target in targets]
        checks = passive(tcp_failures=1, http_failures=1) | active(type=kind, https_verify_certificate=False)
        balance(node, dict.fromkeys(places, 100), healthchecks=checks)
        if kind == "https":
            node.change("/services/s", protocol="https")
        wait_until(lambda: set(healths(node).values()) == {"HEALTHY"} and node.get("/").status_code == 200, SOON)
        with Load(node, "/") as load:
            load.more(100)
            targets[0].kill()
            load.more(200)
            wait_until(lambda: healths(node)[places[0]] == "UNHEALTHY", SOON)
            load.more(100)
            assert str(targets[0].port) not in {node.get("/").text for _ in range(12)}
            targets[0].start()
            wait_until(lambda: healths(node)[places[0]] == "HEALTHY", SOON)
            wait_until(lambda: node.get("/").text == str(targets[0].port), SOON)
            load.more(100)
        assert load.failures == []


def test_failures_count_over_all_workers(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    bad, good = make_upstream(plain(b"bad", 500)), make_upstream()
    balance(node, {place(bad): 65535, place(good): 1}, healthchecks=passive(http_failures=4))
    with ExitStack() as stack:
        workers = [stack.enter_context(client_of(node, pid)) for pid in node.worker_pids()]
        assert len(workers) == 2
        for _ in range(2):
            for worker in workers:
                assert ask(worker, "GET", "/").status == 500
        assert healths(node) == {place(bad): "UNHEALTHY", place(good): "HEALTHY"}
        for worker in workers:
            assert ask(worker, "GET", "/").status == 200, "every worker knows at its next pick"
        assert len(bad.requests) == 4
        assert put(node, place(bad), "healthy").status_code == 204
        for worker in workers:
            assert ask(worker, "GET", "/").status == 500


def test_dead_addresses_get_no_more_tries(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    good = make_upstream()
    (dead,) = free_ports(1)
    balance(node, {f"127.0.0.1:{dead}": 1000, place(good): 1}, healthchecks=passive(tcp_failures=1))
    assert sum(shares(node, [good], 10)) == 10
    assert healths(node)[f"127.0.0.1:{dead}"] == "UNHEALTHY"
    shown = overall(node)
    assert (shown["health"], shown["balancer_health"]) == ("HEALTHY", "HEALTHY")
    assert shown["details"]["weight"] == {"total": 1001, "available": 1, "unavailable": 1000}
    node.change(POOL, healthchecks={"threshold": 50})
    assert node.get("/").json()["message"] == "failure to get a peer from the ring-balancer"
    assert overall(node)["balancer_health"] == "UNHEALTHY"
    # What was taken away and comes again is new; what only changes is not.
    node.change(f"{POOL}/targets/127.0.0.1:{dead}", weight=1001)
    assert healths(node)[f"127.0.0.1:{dead}"] == "UNHEALTHY"
    node.delete(f"{POOL}/targets/127.0.0.1:{dead}")
    assert node.get("/").status_code == 200
    node.create(f"{POOL}/targets", target=f"127.0.0.1:{dead}", weight=1)
    assert healths(node)[f"127.0.0.1:{dead}"] == "HEALTHY"
    assert put(node, f"127.0.0.1:{dead}", "unhealthy").status_code == 204
    node.delete(f"{POOL}/targets/127.0.0.1:{dead}")
    node.create(f"{POOL}/targets", target=f"127.0.0.1:{dead}", weight=1)
    assert healths(node)[f"127.0.0.1:{dead}"] == "HEALTHY"


def test_slow_answers_count_as_timeouts(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    late, good = make_upstream(plain(b"late", 504)), make_upstream()
    balance(node, {place(late): 1000, place(good): 1}, healthchecks=passive(timeouts=1))
    assert node.get("/").status_code == 504
    assert node.get("/").status_code == 200


@pytest.mark.parametrize("kind", ["http", "https", "tcp", "grpc"])
def test_active_checks(node: Gateway, make_upstream: Callable[..., Upstream], kind: str, tls: ssl.SSLContext) -> None:
    state = {"status": 200}
    respond = by_path({"/ready": lambda request: answer(state["status"], b"x")})
    server = make_upstream(respond, tls=tls if kind == "https" else None)
    (dead,) = free_ports(1)
    address = f"{server.host}:{server.port}"
    checks = active(
        type=kind, http_path="/ready", https_verify_certificate=False, headers={"X-Probe": ["1"]}, https_sni="sni.test"
    )
    balance(node, {address: 1, f"127.0.0.1:{dead}": 1}, healthchecks=checks, host_header="probe.test")
    wait_until(lambda: healths(node) == {address: "HEALTHY", f"127.0.0.1:{dead}": "UNHEALTHY"}, SOON)
    wait_until(lambda: server.accepted > 1, SOON)
    if kind == "tcp":
        assert server.requests == []
        return
    question = server.wait_for(1)[0]
    assert (question.method, question.target, question.version) == ("GET", "/ready", "1.0")
    assert (question.get("host"), question.get("x-probe")) == ("probe.test", "1")
    state["status"] = 500
    wait_until(lambda: healths(node)[address] == "UNHEALTHY", SOON)
    assert node.get("/").status_code == 503
    state["status"] = 404  # says neither
    server.clear()
    server.wait_for(2)
    assert healths(node)[address] == "UNHEALTHY"
    state["status"] = 302
    wait_until(lambda: healths(node)[address] == "HEALTHY", SOON)


def test_probes_that_are_not_answered(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    silent = make_upstream(script(Pause(5), CLOSE))
    unhealthy = {"interval": OFTEN, "timeouts": 1}
    balance(node, {place(silent): 1}, healthchecks=active(timeout=0.3, unhealthy=unhealthy))
    wait_until(lambda: healths(node) == {place(silent): "UNHEALTHY"}, SOON)


def test_a_certificate_that_does_not_verify_is_a_failure(
    node: Gateway, make_upstream: Callable[..., Upstream], tls: ssl.SSLContext
) -> None:
    server = make_upstream(tls=tls)
    address = f"{server.host}:{server.port}"
    balance(node, {address: 1}, healthchecks=active(type="https"))
    wait_until(lambda: healths(node) == {address: "UNHEALTHY"}, SOON)
    assert server.requests == []


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    from tests.pem import certificate, private_key

    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_text(certificate() + private_key())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_one_worker_asks_for_the_node(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    server = make_upstream()
    balance(node, {place(server): 1}, healthchecks=active(healthy={"interval": 0.5, "successes": 1}))
    server.wait_for(3)
    requests = len(server.requests)
    asking = server.accepted
    assert requests == asking, "a connection for each question"
    first, *_ = node.worker_pids()
    assert node.get("/").status_code == 200
    os.kill(first, signal.SIGKILL)
    server.clear()
    server.wait_for(3, SOON)  # another one goes on
    wait_until(lambda: len(node.worker_pids()) == 2 and first not in node.worker_pids(), SOON)


def test_what_is_told_of_targets(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    server, idle = make_upstream(), make_upstream()
    targets = {place(server): 10, place(idle): 0, "unknown.invalid:80": 5}
    balance(node, targets)
    off = "HEALTHCHECKS_OFF"
    assert healths(node) == {place(server): off, place(idle): off, "unknown.invalid:80": "DNS_ERROR"}
    assert overall(node)["health"] == off
    node.change(POOL, healthchecks=passive(http_failures=1))
    assert healths(node) == {place(server): "HEALTHY", place(idle): off, "unknown.invalid:80": "DNS_ERROR"}
    assert put(node, place(server), "unhealthy").status_code == 204
    items = {item["target"]: item["data"] for item in node.admin("GET", f"{POOL}/health").json()["data"]}
    assert items[place(server)] == {
        "host": "127.0.0.1",
        "port": server.port,
        "dns": "A",
        "nodeWeight": 10,
        "weight": {"total": 10, "available": 0, "unavailable": 10},
        "addresses": [{"ip": "127.0.0.1", "port": server.port, "weight": 10, "health": "UNHEALTHY"}],
    }
    assert items["unknown.invalid:80"]["addresses"] == []
    assert "unknown.invalid" in items["unknown.invalid:80"]["dns"]
    details = overall(node)["details"]
    assert details["healthy"] is False
    assert next(host for host in details["hosts"] if host["port"] == server.port)["addresses"] == [
        {"ip": "127.0.0.1", "port": server.port, "weight": 10, "healthy": False}
    ]
    assert node.get("/").status_code == 503
    page = node.admin("GET", f"{POOL}/health?size=1").json()
    assert (len(page["data"]), page["next"]) == (1, f"{POOL}/health?offset=1")


def test_health_set_by_hand(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    server = make_upstream()
    target = place(server)
    balance(node, {target: 1})
    refused = put(node, target, "unhealthy")
    assert (refused.status_code, refused.json()["message"]) == (400, "no healthchecker found for pool.test")
    node.change(POOL, healthchecks=passive(http_failures=1))
    for port in ("1", "%C2%B2", "9" * 5000):
        assert put(node, f"{target}/127.0.0.1:{port}", "unhealthy").status_code == 400
    assert put(node, "127.0.0.1:2", "unhealthy").status_code == 404
    assert node.admin("PUT", f"{POOL}/targets/{target}/unhealthy?dry_run=1").status_code == 204
    assert healths(node) == {target: "HEALTHY"}
    assert put(node, f"{target}/{target}", "unhealthy").status_code == 204
    assert healths(node) == {target: "UNHEALTHY"}
    assert node.get("/").status_code == 503
    node.change(POOL, healthchecks=passive(http_failures=2))
    assert healths(node) == {target: "UNHEALTHY"}, "health survives a change of the upstream"
    assert put(node, target, "healthy").status_code == 204
    assert node.get("/").status_code == 200


def test_health_survives_a_reload(node: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    server, other = make_upstream(), make_upstream()
    balance(node, {place(server): 1, place(other): 1}, healthchecks=passive(http_failures=1))
    assert put(node, place(server), "unhealthy").status_code == 204
    node.reload()
    assert healths(node) == {place(server): "UNHEALTHY", place(other): "HEALTHY"}
    assert shares(node, [server, other], 6) == [0, 6]
