"""What is changed at one node is served by the others: all of it, in order, also after a long absence."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.cluster.conftest import Pair
from tests.gateway import Gateway
from tests.integration.support import ask, client_of, in_thread
from tests.upstream import Upstream
from tests.wire import Client, wait_until

CHANGES = 40
STEPS = 100
SOON = 60
"""Seconds: far more than it takes, for machines that are busy."""


def served(node: Gateway, path: str, **headers: str) -> int:
    return node.get(path, headers=headers).status_code


def test_a_change_at_either_node_is_served_by_the_other(pair: Pair, upstream: Upstream) -> None:
    first, second = pair.both
    first.route(upstream.url, name="shared", paths=["/shared"])
    wait_until(lambda: served(second, "/shared") == 200, SOON)
    first.create("/routes/shared/plugins", name="key-auth")
    wait_until(lambda: served(second, "/shared", apikey="secret") == 401, SOON)
    first.create("/consumers", username="ann")
    made = first.create("/consumers/ann/key-auth", key="secret")
    wait_until(lambda: served(second, "/shared", apikey="secret") == 200, SOON)
    second.change("/consumers/ann", username="bea")
    wait_until(lambda: b'"bea"' in first.get("/shared", headers={"apikey": "secret"}).content, SOON)
    first.delete(f"/consumers/bea/key-auth/{made['id']}")
    wait_until(lambda: served(second, "/shared", apikey="secret") == 401, SOON)
    second.delete("/routes/shared")
    wait_until(lambda: served(first, "/shared") == 404, SOON)


def test_what_one_worker_serves_all_workers_of_the_node_serve(pair: Pair, upstream: Upstream) -> None:
    """Clients of a node never meet an earlier configuration after a later one, whoever made the change."""
    first, second = pair.both
    first.create("/services", name="steps", url=upstream.url + "/0")
    first.create("/services/steps/routes", paths=["/steps"])
    wait_until(lambda: served(second, "/steps") == 200, SOON)
    with ExitStack() as stack:
        workers = [stack.enter_context(client_of(second, pid)) for pid in second.worker_pids()]

        def change() -> None:
            for number in range(1, STEPS + 1):
                first.change("/services/steps", path=f"/{number}")

        with in_thread(change):
            latest = 0
            while latest < STEPS:
                for worker in workers:
                    seen = int(json.loads(ask(worker, "GET", "/steps").body)["target"].strip("/"))
                    assert seen >= latest, f"{seen} after {latest}"
                    latest = seen
    first.delete(f"/routes/{first.admin('GET', '/services/steps/routes').json()['data'][0]['id']}")


def test_stored_answers_are_purged_on_all_nodes(pair: Pair, upstream: Upstream) -> None:
    first, second = pair.both
    route = first.route(upstream.url, paths=["/stored"])
    config = {"strategy": "memory", "content_type": ["*/*"]}
    plugin = first.create(f"/routes/{route['id']}/plugins", name="proxy-cache", config=config)

    def state(node: Gateway) -> tuple[str, str]:
        headers = node.get("/stored").headers
        return headers.get("X-Cache-Status", ""), headers.get("X-Cache-Key", "")

    wait_until(lambda: state(second)[0] == "Hit", SOON)
    key = state(first)[1]
    assert state(second) == ("Hit", key)
    of_plugin = f"/proxy-cache/{plugin['id']}/caches/{key}"
    for path in (f"/proxy-cache/{key}", of_plugin, "/proxy-cache"):
        assert state(first)[0] in ("Miss", "Hit") and state(second)[0] in ("Miss", "Hit")
        assert second.admin("GET", f"/proxy-cache/{key}").json()["status"] == 200
        assert first.admin("DELETE", path).status_code == 204
        wait_until(lambda: second.admin("GET", f"/proxy-cache/{key}").status_code == 404, SOON)
    assert state(second)[0] == "Miss"
    # This node has not got it, the other one has.
    gone = first.admin("DELETE", of_plugin)
    assert (gone.status_code, gone.content) == (404, b"")
    wait_until(lambda: second.admin("GET", of_plugin).status_code == 404, SOON)
    first.delete(f"/routes/{route['id']}")


class Watch:
    """Asks one worker again and again; `seen` holds the numbers in the paths that the upstream got."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: list[int] = []
        self.failures: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.005):
            answer = ask(self._client, "GET", "/counter")
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body!r}")
                return
            self.seen.append(int(json.loads(answer.body)["target"].strip("/")))

    def end(self) -> None:
        self._end.set()
        self._thread.join(30)


@contextmanager
def watches(node: Gateway) -> Iterator[list[Watch]]:
    """One for each worker of a node."""
    with ExitStack() as stack:
        made = [Watch(stack.enter_context(client_of(node, pid))) for pid in node.worker_pids()]
        try:
            yield made
        finally:
            for watch in made:
                watch.end()


def test_every_one_of_many_changes_arrives_and_none_goes_back(pair: Pair, upstream: Upstream) -> None:
    """Also look-ups that were misses before, in each worker of the other node."""
    first, second = pair.both
    first.create("/services", name="many", url=upstream.url + "/0")
    first.create("/services/many/routes", paths=["/counter"])
    guarded = first.create("/services/many/routes", name="guarded", paths=["/guarded"])
    first.create(f"/routes/{guarded['id']}/plugins", name="key-auth")
    first.create("/consumers", username="many")
    wait_until(lambda: served(second, "/counter") == 200 and served(second, "/guarded", apikey="0") == 401, SOON)
    numbers = range(1, CHANGES + 1)
    with watches(second) as watched:
        for number in numbers:
            assert served(second, "/guarded", apikey=f"many{number}") == 401
            first.change("/services/many", path=f"/{number}")
            first.create("/services/many/routes", paths=[f"/many{number}-"])
            first.create("/consumers/many/key-auth", key=f"many{number}")
        wait_until(lambda: all(watch.seen[-1:] == [CHANGES] for watch in watched), SOON)
    for watch in watched:
        assert watch.failures == []
        assert watch.seen == sorted(watch.seen), "a worker went back to an earlier configuration"
    with ExitStack() as stack:
        workers = [stack.enter_context(client_of(second, pid)) for pid in second.worker_pids()]

        def all_served(*status: int) -> bool:
            return all(
                ask(worker, "GET", path, f"apikey: many{number}").status in status
                for worker in workers
                for number in numbers
                for path in ("/guarded", f"/many{number}-")
            )

        wait_until(lambda: all_served(200), SOON)
        first.delete("/consumers/many")
        first.delete("/routes/guarded")
        for route in first.admin("GET", "/services/many/routes?size=1000").json()["data"]:
            first.delete(f"/routes/{route['id']}")
        wait_until(lambda: all_served(401, 404), SOON)
        first.delete("/services/many")


def test_a_token_that_one_node_revokes_the_others_refuse(pair: Pair) -> None:
    first = pair.first
    guarded = pair.node(workers=2, KONG_ADMIN_AUTH="token")
    token = first.create("/admin-tokens", name="guest")["token"]

    def status() -> int:
        return guarded.admin("GET", "/services", headers={"Authorization": f"Bearer {token}"}).status_code

    wait_until(lambda: status() == 200, SOON)
    first.delete("/admin-tokens/guest")
    wait_until(lambda: status() == 401, SOON)
    assert [status() for _ in range(20)] == [401] * 20
    guarded.stop(signal.SIGINT)


def test_a_node_that_was_away_for_longer_than_events_live_loads_everything(pair: Pair, upstream: Upstream) -> None:
    first, second = pair.both
    first.create("/services", name="old", url=upstream.url + "/before")
    for name in ("stays", "goes"):
        first.create("/services/old/routes", name=name, paths=[f"/{name}"])
    first.create("/routes/stays/plugins", name="key-auth")
    first.create("/consumers", username="old")
    lost = first.create("/consumers/old/key-auth", key="lost")
    wait_until(lambda: served(second, "/stays", apikey="found") == 401 and served(second, "/goes") == 200, SOON)
    wait_until(lambda: served(second, "/stays", apikey="lost") == 200, SOON)
    with frozen(second):
        first.delete("/routes/goes")
        first.delete(f"/consumers/old/key-auth/{lost['id']}")
        first.create("/consumers/old/key-auth", key="found")
        first.change("/services/old", path="/after")
        first.create("/services/old/routes", name="new", paths=["/new"])
        pair.forget_events()
    wait_until(lambda: served(second, "/new") == 200, SOON)
    wait_until(lambda: second.log().count("loading the whole configuration") == 2, SOON)  # in each worker
    assert served(second, "/goes") == 404
    assert served(second, "/stays", apikey="lost") == 401
    answer = second.get("/stays", headers={"apikey": "found"})
    assert (answer.status_code, answer.json()["target"]) == (200, "/after")
    first.create("/services/old/routes", name="newer", paths=["/newer"])
    wait_until(lambda: served(second, "/newer") == 200, SOON)


@contextmanager
def frozen(node: Gateway) -> Iterator[None]:
    """A node whose processes stand still."""
    pids = [node.pid, *node.worker_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def node(upstream: Upstream) -> Iterator[Gateway]:
    """A node with a route for those who have a key."""
    with Gateway() as made:
        made.route(upstream.url, paths=["/"])
        made.create("/plugins", name="key-auth")
        made.create("/consumers", username="ann")
        made.create("/consumers/ann/key-auth", key="known")
        yield made


class TestCaches:
    """The settings of the caches, on one node with one worker."""

    def started(self, node: Gateway, **settings: str) -> Gateway:
        """Start the node anew with these settings."""
        node.stop(signal.SIGINT)
        before = dict(node.settings)
        node.settings |= {f"KONG_{name.upper()}": value for name, value in settings.items()}
        node.start()
        node.settings = before
        return node

    def cached(self, node: Gateway, key: str) -> Any:
        """What the Admin API tells of a key in the cache: its status."""
        return node.admin("GET", f"/cache/keyauth_credentials:{key}:::::").status_code

    def test_look_ups_stay_until_they_change(self, node: Gateway) -> None:
        self.started(node)
        assert [self.cached(node, key) for key in ("known", "unknown")] == [404, 404]
        assert (served(node, "/", apikey="known"), served(node, "/", apikey="unknown")) == (200, 401)
        assert [self.cached(node, key) for key in ("known", "unknown")] == [200, 200]

    def test_keys_are_kongs_whatever_is_in_them(self, node: Gateway) -> None:
        self.started(node)
        node.create("/consumers/ann/key-auth", key="a:b c")
        ann = node.admin("GET", "/consumers/ann").json()
        node.create("/consumers/ann/acls", group="blue")
        node.create("/plugins", name="acl", config={"allow": ["blue"]})
        assert served(node, "/", apikey="a:b c") == 200
        shown = {
            name: node.admin("GET", f"/cache/{name}:::::{workspace}").json()
            for name in ("keyauth_credentials:a:b c", f"consumers:{ann['id']}", f"acls:{ann['id']}")
            for workspace in ("", "0f3f7a6c-6e0d-5b7e-9f59-6d1d5c1c9d0e")
        }
        credential, consumer, groups = shown.values()
        assert (credential["key"], consumer["username"]) == ("a:b c", "ann")
        assert [row["group"] for row in groups] == ["blue"]
        assert node.admin("DELETE", "/cache/keyauth_credentials:a:b c:::::").status_code == 204
        assert self.cached(node, "a:b c") == 404
        assert served(node, "/", apikey="a:b c") == 200

    def test_or_for_a_time(self, node: Gateway) -> None:
        self.started(node, db_cache_ttl="60", db_cache_neg_ttl="0.5")
        assert (served(node, "/", apikey="known"), served(node, "/", apikey="unknown")) == (200, 401)
        wait_until(lambda: self.cached(node, "unknown") == 404, SOON)
        assert self.cached(node, "known") == 200
        self.started(node, db_cache_ttl="0.5", db_cache_neg_ttl="60")
        assert (served(node, "/", apikey="known"), served(node, "/", apikey="unknown")) == (200, 401)
        wait_until(lambda: self.cached(node, "known") == 404, SOON)
        assert self.cached(node, "unknown") == 200

    @pytest.mark.parametrize(("seconds", "status"), [("60", 200), ("0", 503)])
    def test_what_is_over_its_time_serves_while_the_store_is_away(
        self, node: Gateway, seconds: str, status: int
    ) -> None:
        self.started(node, db_cache_ttl="0.5", db_resurrect_ttl=seconds)
        assert served(node, "/", apikey="known") == 200
        store = node.prefix / "kong.sqlite3"
        hidden = {file: file.with_name("hidden." + file.name) for file in node.prefix.glob("kong.sqlite3*")}
        for file, other in hidden.items():
            file.rename(other)
        store.mkdir()
        try:
            wait_until(lambda: served(node, "/", apikey="unknown") == 503, SOON)
            wait_until(lambda: self.cached(node, "known") == 404, SOON)
            assert served(node, "/", apikey="known") == status
        finally:
            store.rmdir()
            for file, other in hidden.items():
                other.rename(file)
        wait_until(lambda: served(node, "/", apikey="known") == 200, SOON)

    def test_some_are_there_before_the_first_request(self, node: Gateway) -> None:
        self.started(node, db_cache_warmup_entities="consumers,keyauth_credentials")
        assert [self.cached(node, key) for key in ("known", "unknown")] == [200, 404]
