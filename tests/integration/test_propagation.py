"""A 2xx of the Admin API is a promise: every worker serves the new configuration from the next request on."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import ask, ask_once, cli, client_of, in_thread
from tests.upstream import Upstream, plain
from tests.wire import Answer, Client, wait_until

WORKERS = 4
ROUNDS = 10
"""Each round makes 20 changes."""


class Cluster:
    """A node of four workers with a kept connection to each of them."""

    def __init__(self, gateway: Gateway, upstream: Upstream, clients: list[Client]) -> None:
        self.gateway, self.upstream, self.clients = gateway, upstream, clients
        self.changes = 0

    def all_answer(self, wanted: Callable[[Answer], bool], target: str, *lines: str) -> None:
        """Just after a change: each worker's kept connection and a fresh one get what the change says."""
        self.changes += 1
        for client in self.clients:
            answer = ask(client, "GET", target, *lines)
            assert wanted(answer), f"stale on a kept connection: {answer.status} {answer.body!r}"
        answer = ask_once(self.gateway, "GET", target, *lines)
        assert wanted(answer), f"stale on a fresh connection: {answer.status} {answer.body!r}"

    def all_status(self, status: int, target: str, *lines: str) -> None:
        """Just after a change: everybody answers with this status."""
        self.all_answer(lambda answer: answer.status == status, target, *lines)

    def all_body(self, part: bytes, target: str, *lines: str) -> None:
        """Just after a change: everybody answers with a body that contains this."""
        self.all_answer(lambda answer: part in answer.body, target, *lines)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(workers=WORKERS, env={"keepalive_requests": "1000000"}))
        upstream = stack.enter_context(Upstream())
        clients = [stack.enter_context(client_of(gateway, pid)) for pid in gateway.worker_pids()]
        assert len(clients) == WORKERS
        yield Cluster(gateway, upstream, clients)


def test_no_stale_answer_after_200_changes(cluster: Cluster) -> None:
    cluster.changes = 0
    for number in range(ROUNDS):
        _change_routes(cluster, number)
        _change_plugins(cluster, number)
        _change_credentials(cluster, number)
    assert cluster.changes >= 200


def _change_routes(cluster: Cluster, number: int) -> None:
    gateway, path = cluster.gateway, f"/r{number}"
    gateway.create("/services", name=f"s{number}", url=cluster.upstream.url + "/one")
    cluster.all_status(404, path)
    gateway.create(f"/services/s{number}/routes", name=f"r{number}", paths=[path])
    cluster.all_body(b'"target": "/one"', path)
    gateway.change(f"/services/s{number}", path="/two")
    cluster.all_body(b'"target": "/two"', path)
    gateway.change(f"/routes/r{number}", strip_path=False)
    cluster.all_body(f'"target": "/two{path}"'.encode(), path)
    gateway.change(f"/routes/r{number}", paths=[path + "x"])
    cluster.all_status(404, path)
    gateway.change(f"/routes/r{number}", paths=[path], hosts=["other.test"])
    cluster.all_status(404, path)
    gateway.change(f"/routes/r{number}", hosts=None)
    cluster.all_status(200, path)
    gateway.change(f"/services/s{number}", enabled=False)
    cluster.all_status(404, path)
    gateway.change(f"/services/s{number}", enabled=True)
    cluster.all_status(200, path)


def _change_plugins(cluster: Cluster, number: int) -> None:
    gateway, path = cluster.gateway, f"/r{number}"
    plugin = gateway.create(
        f"/routes/r{number}/plugins", name="request-termination", config={"status_code": 403, "message": "first"}
    )
    cluster.all_body(b"first", path)
    gateway.change(f"/plugins/{plugin['id']}", config={"message": "second"})
    cluster.all_body(b"second", path)
    gateway.change(f"/plugins/{plugin['id']}", enabled=False)
    cluster.all_status(200, path)
    gateway.change(f"/plugins/{plugin['id']}", enabled=True)
    cluster.all_status(403, path)
    gateway.delete(f"/plugins/{plugin['id']}")
    cluster.all_status(200, path)


def _change_credentials(cluster: Cluster, number: int) -> None:
    gateway, path, user = cluster.gateway, f"/r{number}", f"user{number}"
    gateway.create(f"/routes/r{number}/plugins", name="key-auth")
    cluster.all_status(401, path, f"apikey: key{number}")
    gateway.create("/consumers", username=user)
    made = gateway.create(f"/consumers/{user}/key-auth", key=f"key{number}")
    cluster.all_body(user.encode(), path, f"apikey: key{number}")
    gateway.change(f"/consumers/{user}", username=f"renamed{number}")
    cluster.all_body(f"renamed{number}".encode(), path, f"apikey: key{number}")
    gateway.change(f"/consumers/renamed{number}/key-auth/{made['id']}", key=f"other{number}")
    cluster.all_status(401, path, f"apikey: key{number}")
    cluster.all_status(200, path, f"apikey: other{number}")
    gateway.delete(f"/consumers/renamed{number}")
    cluster.all_status(401, path, f"apikey: other{number}")
    gateway.delete(f"/routes/r{number}")
    cluster.all_status(404, path, f"apikey: other{number}")


class TestManyChanges:
    """What another node or a command writes is served by all workers or by none, all of a commit or nothing."""

    COUNT = 600

    def document(self, prefix: str) -> dict[str, Any]:
        settings = {"status_code": 418, "message": prefix}
        routes = [
            {"paths": [f"/{prefix}/{number}"], "plugins": [{"name": "request-termination", "config": settings}]}
            for number in range(self.COUNT)
        ]
        return {"_format_version": "3.0", "services": [{"name": prefix, "url": "http://127.0.0.1:9", "routes": routes}]}

    def test_of_another_node(self, cluster: Cluster) -> None:
        store = str(cluster.gateway.prefix / "kong.sqlite3")
        with (
            Gateway(env={"sqlite_path": store}) as other,
            in_thread(lambda: other.admin("POST", "/config", json=self.document("set"), timeout=120)) as done,
        ):
            seen = []
            end = monotonic() + 120
            while not seen or seen[-1] != 418:
                assert monotonic() < end, f"not served: {done}"
                for client in cluster.clients:
                    for number in (0, self.COUNT - 1):
                        seen.append(ask(client, "GET", f"/set/{number}").status)
        first = seen.index(418)
        assert set(seen[:first]) == {404} and set(seen[first:]) == {418}
        assert [answer.status_code for answer in done] == [201]

    def test_of_a_command(self, cluster: Cluster) -> None:
        """It makes many commits, which come one after the other; every request is answered meanwhile."""
        file = cluster.gateway.prefix / "many.json"
        file.write_text(json.dumps(self.document("command")))
        with in_thread(lambda: cli(cluster.gateway, "config", "db_import", str(file))) as done:
            answered = 0
            while not done:
                assert ask(cluster.clients[0], "GET", "/nowhere").status == 404
                answered += 1
        assert done[0].returncode == 0, done[0].stderr
        assert answered > 10
        for client in cluster.clients:
            wait_until(lambda client=client: ask(client, "GET", f"/command/{self.COUNT - 1}").status == 418)


def test_unreadable_store(upstream: Upstream) -> None:
    """The file is replaced by garbage while the gateway runs, then comes back."""
    with Gateway(workers=2) as gateway:
        gateway.route(upstream.url, name="kept", paths=["/kept"])
        gateway.create("/routes/kept/plugins", name="key-auth")
        gateway.create("/consumers", username="ann")
        gateway.create("/consumers/ann/key-auth", key="known")
        assert gateway.get("/kept", headers={"apikey": "known"}).status_code == 200
        store = Path(gateway.settings.get("KONG_SQLITE_PATH", str(gateway.prefix / "kong.sqlite3")))
        _hide(store)
        try:
            wait_until(lambda: gateway.admin("POST", "/services", {"url": upstream.url}).status_code == 503)
            refused = gateway.admin("POST", "/services", {"url": upstream.url})
            assert refused.status_code == 503
            assert refused.json()["message"]
            assert gateway.admin("GET", "/services").status_code == 503
            for _ in range(20):
                assert gateway.get("/elsewhere").status_code == 404
            wait_until(lambda: not gateway.is_ready())
        finally:
            _show(store)
        wait_until(gateway.is_ready)
        wait_until(
            lambda: gateway.admin("POST", "/services", {"url": upstream.url, "name": "new"}).status_code == 201, 20
        )
        assert gateway.get("/kept", headers={"apikey": "known"}).status_code == 200
        gateway.create("/services/new/routes", paths=["/new"])
        assert gateway.get("/new").status_code == 200


def _hide(store: Path) -> None:
    for file in store.parent.glob(store.name + "*"):
        file.rename(file.with_name("hidden." + file.name))
    store.mkdir()


def _show(store: Path) -> None:
    store.rmdir()
    for file in store.parent.glob("hidden." + store.name + "*"):
        file.rename(file.with_name(file.name.removeprefix("hidden.")))


def test_locked_store(upstream: Upstream) -> None:
    """Another program holds the write lock: writes are refused with 503 after a while, reads and proxying go on."""
    with Gateway() as gateway:
        gateway.route(upstream.url, paths=["/kept"])
        store = gateway.settings.get("KONG_SQLITE_PATH", str(gateway.prefix / "kong.sqlite3"))
        other = sqlite3.connect(store, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            assert gateway.admin("POST", "/consumers", {"username": "bob"}, timeout=60).status_code == 503
            assert gateway.get("/kept").status_code == 200
            assert gateway.admin("GET", "/services").status_code == 200
            other.execute("ROLLBACK")
        finally:
            other.close()
        gateway.create("/consumers", username="bob")


def test_a_look_up_that_misses_fails_closed_while_the_store_is_away() -> None:
    with Gateway() as gateway, Upstream(plain(b"secret")) as upstream:
        gateway.route(upstream.url, name="kept", paths=["/kept"])
        gateway.create("/routes/kept/plugins", name="key-auth")
        gateway.create("/consumers", username="ann")
        gateway.create("/consumers/ann/key-auth", key="known")
        gateway.create("/consumers/ann/key-auth", key="never-seen")
        assert gateway.get("/kept", headers={"apikey": "known"}).status_code == 200
        store = Path(gateway.settings.get("KONG_SQLITE_PATH", str(gateway.prefix / "kong.sqlite3")))
        _hide(store)
        try:
            wait_until(lambda: not gateway.is_ready())
            assert gateway.get("/kept", headers={"apikey": "known"}).status_code == 200
            assert gateway.get("/kept", headers={"apikey": "never-seen"}).status_code == 503
        finally:
            _show(store)
        wait_until(lambda: gateway.get("/kept", headers={"apikey": "never-seen"}).status_code == 200)
