"""Many changes at once: made ready beside the requests, in force all together."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import gevent
import pytest

from kong_gevent.errors import EventsLost
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]
MANY = 400


def store_many(made: InMemoryGateway, prefix: str) -> list[dict[str, Any]]:
    """Routes behind the gateway's back, each with a plugin that answers for it."""
    store, routes = made.store, []
    for number in range(MANY):
        routes.append(store.dao("routes").insert({"paths": [f"/{prefix}/{number}"], "service": made.service}))
        settings = {"name": "request-termination", "route": routes[-1], "config": {"status_code": 418}}
        store.dao("plugins").insert(settings)
    return routes


def watch(made: InMemoryGateway, work: Callable[[], Any], ask: Callable[[], Any]) -> list[Any]:
    """What a question was answered with, turn by turn, while some work went on, and after it."""
    job, seen = gevent.spawn(work), []
    while not job.ready():
        seen.append(ask())
        gevent.sleep(0)
    job.get()
    return [*seen, ask()]


def statuses(made: InMemoryGateway, *targets: str) -> tuple[int, ...]:
    return tuple(made.get(target).status for target in targets)


def publish(made: InMemoryGateway) -> None:
    """As when somebody on this node has written something, or all workers have made ready what was written."""
    shared: Any = made.sync._shared
    shared.generation += 1
    made.sync.catch_up()


@pytest.fixture
def lost(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[[InMemoryGateway], None]:
    def lose(made: InMemoryGateway) -> None:
        def gone(*_arguments: Any) -> None:
            raise EventsLost("gone")

        monkeypatch.setattr(made.store, "events_after", gone)

    return lose


@pytest.mark.parametrize("how", ["events", "lost events"])
def test_requests_are_served_meanwhile_and_see_all_or_nothing(plugin: Make, lost: Any, how: str) -> None:
    made = plugin("request-termination", status_code=200)
    store_many(made, "new")
    made.store.dao("routes").update(made.route["id"], {"paths": ["/moved"]})
    if how == "lost events":
        lost(made)
    targets = ("/new/0", f"/new/{MANY - 1}", f"/new/{MANY // 2}", "/other")
    seen = watch(made, made.sync.poll, lambda: statuses(made, *targets))
    before, after = (200,) * 4, (418, 418, 418, 404)
    turns = seen.count(before)
    assert turns > 10, "hardly any request was served while the changes were made ready"
    assert seen == [before] * turns + [after] * (len(seen) - turns)


def test_what_goes_goes_at_once(plugin: Make) -> None:
    made = plugin("request-termination", status_code=200)
    routes = store_many(made, "old")
    made.sync.poll()
    for route in routes:
        made.store.dao("routes").delete(route["id"])
    targets = ("/old/0", f"/old/{MANY - 1}")
    seen = watch(made, made.sync.poll, lambda: statuses(made, *targets))
    turns = seen.count((418, 418))
    assert turns > 10
    assert seen == [(418, 418)] * turns + [(200, 200)] * (len(seen) - turns)
    assert made.gateway.plan.held("routes", routes[0]["id"]) is None


def test_they_wait_for_the_other_workers_and_come_with_the_next_write(plugin: Make) -> None:
    made = plugin("request-termination", status_code=200)
    made.sync.together = True
    store_many(made, "new")
    made.sync.poll()
    assert made.sync.prepared and made.get("/new/1").status == 200
    store_many(made, "later")
    made.sync.poll()
    assert made.sync.prepared and made.get("/later/1").status == 200
    publish(made)
    assert statuses(made, "/new/1", "/later/1") == (418, 418)
    assert not made.sync.prepared


def test_lost_events_while_changes_wait_begin_anew(plugin: Make, lost: Any) -> None:
    made = plugin("request-termination", status_code=200)
    made.sync.together = True
    store_many(made, "new")
    made.sync.poll()
    store_many(made, "later")
    lost(made)
    made.sync.poll()
    assert made.sync.prepared and made.get("/new/1").status == 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.store, "events_after", lambda *_arguments: [])
        publish(made)
        assert statuses(made, "/new/1", "/later/1") == (418, 418)


def test_look_ups_are_forgotten_with_them(plugin: Make) -> None:
    made = plugin("key-auth")
    made.sync.together = True
    ann = made.store.dao("consumers").insert({"username": "ann"})
    key = made.store.dao("keyauth_credentials").insert({"key": "ann-key", "consumer": ann})
    made.sync.poll()
    assert made.get("/", headers={"apikey": "ann-key"}).status == 200
    assert made.get("/", headers={"apikey": "bob-key"}).status == 401
    store_many(made, "new")
    made.store.dao("keyauth_credentials").delete(key["id"])
    made.store.dao("keyauth_credentials").insert({"key": "bob-key", "consumer": ann})
    made.sync.poll()
    assert made.get("/", headers={"apikey": "ann-key"}).status == 200
    publish(made)
    assert made.get("/", headers={"apikey": "ann-key"}).status == 401
    assert made.get("/", headers={"apikey": "bob-key"}).status == 200


def test_a_large_set_makes_all_look_ups_be_forgotten(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.runtime.succession.MOST_KEYS", 10)
    made = plugin("key-auth")
    ann = made.store.dao("consumers").insert({"username": "ann"})
    assert made.get("/", headers={"apikey": "ann-key"}).status == 401
    store_many(made, "new")
    made.store.dao("keyauth_credentials").insert({"key": "ann-key", "consumer": ann})
    made.sync.poll()
    assert made.get("/", headers={"apikey": "ann-key"}).status == 200


def test_what_was_concluded_from_the_plan_is_concluded_anew() -> None:
    with closing(InMemoryGateway(classic_answers="on")) as made:
        made.store.dao("services").update(made.service["id"], {"tags": ["classic-api"]})
        made.store.dao("routes").update(made.route["id"], {"paths": ["/api"]})
        made.sync.poll()
        assert made.get("/none").response.json()["message"] == "API not found with these values"
        store_many(made, "new")
        made.store.dao("services").update(made.service["id"], {"tags": []})
        made.sync.poll()
        assert made.get("/none").response.json()["message"] == "no Route matched with those values"


class TestSuccessor:
    """Each kind of entity, changed in a copy of a plan that serves."""

    @pytest.fixture
    def made(self, plugin: Make) -> InMemoryGateway:
        return plugin("request-termination", status_code=200)

    def successor(self, made: InMemoryGateway) -> Any:
        from kong_gevent.runtime.succession import Successor

        copy = Successor(made.gateway.plan)
        copy.fill(lambda: 0)
        return copy

    def route_of(self, made: InMemoryGateway, path: str) -> str:
        match = made.gateway.plan.router.match(b"GET", path, "b.a.test", 80, lambda name: None, None, False)
        assert match is not None
        found: str = match.payload.id
        return found

    def test_nothing_changed_is_the_same(self, made: InMemoryGateway) -> None:
        made.insert("upstreams", name="pool")
        made.insert("routes", paths=["~/re/x", "~/re"], service=made.service)
        made.insert("routes", paths=["/h"], hosts=["*.a.test", "a.*", "a.test"], service=made.service)
        store_many(made, "new")
        made.sync.poll()
        before = made.gateway.plan.entities()
        version = made.gateway.plan.table.version
        copy = self.successor(made)
        assert copy.entities() == before
        found = [self.route_of(made, path) for path in ("/re/7", "/h", "/other")]
        assert len(set(found)) == 3
        router = made.gateway.plan.router
        copy.succeed()
        assert made.gateway.plan.entities() == before
        assert made.gateway.plan.table.version > version
        list(router.dismantle())
        assert len(router) == 0 and len(made.gateway.plan.router) == MANY + 3
        assert made.get("/new/7").status == 418
        assert found == [self.route_of(made, path) for path in ("/re/7", "/h", "/other")]

    def test_targets_and_upstreams(self, made: InMemoryGateway) -> None:
        pool = made.insert("upstreams", name="pool")
        first, second = (made.insert("targets", target=f"127.0.0.{n}:80", upstream=pool) for n in (1, 2))
        plan = made.gateway.plan
        copy = self.successor(made)
        copy.apply("targets", first["id"], None)
        third = {**second, "id": made.route["id"], "target": "127.0.0.3:80"}
        copy.apply("targets", third["id"], third)
        copy.apply("upstreams", pool["id"], {**pool, "algorithm": "least-connections"})
        other = {**pool, "id": made.service["id"], "name": "other"}
        copy.apply("upstreams", other["id"], other)
        assert copy.held("targets", first["id"]) is None and copy.held("targets", third["id"]) == third
        assert plan.held("targets", first["id"]) == first and plan.held("upstreams", other["id"]) is None
        assert set(plan.balancers["pool"].targets) == {first["id"], second["id"]}
        copy.succeed()
        assert set(plan.balancers) == {"pool", "other"}
        assert plan.balancers["pool"].entity["algorithm"] == "least-connections"
        assert set(plan.balancers["pool"].targets) == {second["id"], third["id"]}
        assert plan.held("targets", third["id"]) == third and plan.held("targets", first["id"]) is None

    def test_certificates_names_and_authorities(self, made: InMemoryGateway) -> None:
        plan = made.gateway.plan
        told: list[set[str]] = []
        plan.certificates.on_change.append(told.append)
        plan.authorities.on_change.append(told.append)
        texts = {"cert": "c", "key": "k", "cert_alt": None, "key_alt": None}
        plan.apply("certificates", "1", {"id": "1", **texts})
        plan.apply("snis", "a", {"id": "a", "name": "a.test", "certificate": {"id": "1"}})
        copy = self.successor(made)
        copy.apply("certificates", "1", {"id": "1", **texts, "cert": "other"})
        copy.apply("certificates", "2", {"id": "2", **texts})
        copy.apply("snis", "b", {"id": "b", "name": "b.test", "certificate": {"id": "2"}})
        copy.apply("snis", "a", None)
        copy.apply("ca_certificates", "ca", {"id": "ca", "cert": "x"})
        assert told == [] and plan.server_names.find("b.test") is None
        assert plan.server_names.find("a.test").text["cert"] == "c"
        copy.succeed()
        assert plan.server_names.find("a.test") is None
        assert plan.server_names.find("b.test").id == "2"
        assert plan.certificates.get("1").text["cert"] == "other"
        assert told == [{"1"}, {"ca"}]
        assert plan.authorities.entities == {"ca": {"id": "ca", "cert": "x"}}

    def test_plugins_are_retired_when_nobody_uses_them_any_more(
        self, made: InMemoryGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = made.gateway.plan
        retired: list[int] = []
        kind = made.plugins["request-termination"]
        monkeypatch.setattr(type(kind), "retire", lambda _, conf: retired.append(conf.status_code))
        (entity,) = plan.table.entities.values()
        old, copy = plan.table, self.successor(made)
        for status in (201, 202):
            copy.apply("plugins", entity["id"], {**entity, "config": {**entity["config"], "status_code": status}})
        assert retired == [201] and made.get("/").status == 200
        copy.succeed()
        assert retired == [201] and made.get("/").status == 202
        list(old.retire_all_but(plan.table))
        assert retired == [201, 200]
        dropped = self.successor(made)
        dropped.apply("plugins", "new", {**entity, "id": "new", "config": {**entity["config"], "status_code": 203}})
        list(dropped.table.retire_all_but(plan.table))
        assert retired == [201, 200, 203] and made.get("/").status == 202

    def test_later_changes_reach_everybody(self, made: InMemoryGateway) -> None:
        """After it the plan is changed in place again: names that ask for certificates, chains, services' routes."""
        store_many(made, "new")
        made.sync.poll()
        made.update("services", made.service["id"], path="/moved")
        made.use("correlation-id", header_name="X-Late", generator="uuid")
        assert made.get("/new/1").status == 418
        plan = made.gateway.plan
        assert plan.table._asked is plan.asked and plan.asked._routes is plan.routes
        assert {entry.service.path for entry in plan.routes.values() if entry.service} == {"/moved"}
