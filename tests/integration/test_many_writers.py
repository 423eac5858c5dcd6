"""Twenty writers over two nodes of one store: unique values, references, changes and reads hold."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests.gateway import Gateway
from tests.integration.stores import LASTING, Stores
from tests.pem import certificate, private_key
from tests.wire import wait_until

WRITERS = 20
Answers = list[requests.Response]


class Nodes:
    """Two nodes of one store, and writers that begin at the same time."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.gateways = gateways

    def ask(self, number: int, method: str, path: str, body: Any = None) -> requests.Response:
        """A request of the writer with this number, who always talks to the same node."""
        address = self.gateways[number % len(self.gateways)].admin_url
        return requests.request(method, address + path, json=body, timeout=60)

    def at_once(self, write: Callable[[int], Any]) -> list[Any]:
        """What each writer's work returns."""
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(write, range(WRITERS)))

    def all(self, path: str, number: int = 0) -> list[dict[str, Any]]:
        """A list of fewer than 1000 rows."""
        rows: list[dict[str, Any]] = self.ask(number, "GET", f"{path}?size=1000").json()["data"]
        return rows


@pytest.fixture(scope="module", params=LASTING)
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Once for each strategy."""
    folder = tmp_path_factory.mktemp("writers")
    with ExitStack() as stack:
        commands = Stores(folder, request.getfixturevalue, stack)(request.param)
        own = {"KONG_SQLITE_PATH": str(folder / "shared.sqlite3"), "KONG_DB_UPDATE_FREQUENCY": "0.2"}
        shared = {**commands.settings, **own}
        commands.settings = shared
        commands.done("migrations", "bootstrap")
        prefixes = [commands.prefix, folder / "other"]
        started = [
            stack.enter_context(Gateway(prefix=prefix, env={**shared, "KONG_PREFIX": str(prefix)}))
            for prefix in prefixes
        ]
        yield Nodes(started)


def test_one_writer_wins_each_name(nodes: Nodes) -> None:
    names = [f"name{number}" for number in range(15)]

    def write(number: int) -> list[int]:
        return [
            nodes.ask(number, "POST", "/consumers", {"username": names[(number + at) % len(names)]}).status_code
            for at in range(len(names))
        ]

    statuses = Counter(status for some in nodes.at_once(write) for status in some)
    assert statuses == {201: len(names), 409: len(names) * (WRITERS - 1)}
    for number in range(2):
        assert sorted(row["username"] for row in nodes.all("/consumers", number)) == sorted(names)


def test_upserts_of_one_name_make_one_entity(nodes: Nodes) -> None:
    answers: Answers = nodes.at_once(
        lambda number: nodes.ask(number, "PUT", "/services/upserted", {"host": f"h{number}"})
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [row["name"] for row in nodes.all("/services")].count("upserted") == 1


def test_changes_of_one_entity_are_not_lost(nodes: Nodes) -> None:
    made = nodes.ask(0, "POST", "/upstreams", {"name": "changed.test"}).json()
    places = [
        ("active", "healthy", "interval"),
        ("active", "healthy", "successes"),
        ("active", "unhealthy", "interval"),
        ("active", "unhealthy", "timeouts"),
        ("active", "unhealthy", "tcp_failures"),
        ("passive", "healthy", "successes"),
        ("passive", "unhealthy", "timeouts"),
        ("passive", "unhealthy", "tcp_failures"),
    ]

    def write(number: int) -> int:
        first, second, third = places[number % len(places)]
        body = {"healthchecks": {first: {second: {third: 9}}}}
        return nodes.ask(number, "PATCH", f"/upstreams/{made['id']}", body).status_code

    assert set(nodes.at_once(write)) == {200}
    checks = nodes.ask(1, "GET", "/upstreams/changed.test").json()["healthchecks"]
    assert [checks[first][second][third] for first, second, third in places] == [9] * len(places)


def test_references_lead_somewhere(nodes: Nodes) -> None:
    """Some add routes to services while others delete those services."""
    for turn in range(4):
        path = f"/services/contested{turn}"
        nodes.ask(0, "PUT", path, {"host": "h"})

        def write(number: int, path: str = path) -> tuple[str, int]:
            if number % 4 == 3:
                return "DELETE", nodes.ask(number, "DELETE", path).status_code
            return "POST", nodes.ask(number, "POST", f"{path}/routes", {"paths": [f"/{number}"]}).status_code

        outcomes = Counter(nodes.at_once(write))
        assert set(outcomes) <= {("POST", 201), ("POST", 400), ("POST", 404), ("DELETE", 204), ("DELETE", 400)}
        services = {row["id"] for row in nodes.all("/services")}
        routes = [row for row in nodes.all("/routes", 1) if row["paths"][0].lstrip("/").isdigit()]
        assert {row["service"]["id"] for row in routes} <= services
        assert len(routes) == outcomes[("POST", 201)]
        for row in routes:
            assert nodes.ask(0, "DELETE", f"/routes/{row['id']}").status_code == 204


def test_deleting_takes_all_children(nodes: Nodes) -> None:
    """Some add keys to a consumer while others delete the consumer: no key is left without one."""
    for turn in range(4):
        path = f"/consumers/leaving{turn}"
        nodes.ask(0, "PUT", path, {})

        def write(number: int, path: str = path) -> int:
            if number % 5 == 4:
                return nodes.ask(number, "DELETE", path).status_code
            return nodes.ask(number, "POST", f"{path}/key-auth", {}).status_code

        assert set(nodes.at_once(write)) <= {201, 204, 400, 404}
        assert nodes.all("/key-auths", turn) == []


def test_a_name_belongs_to_one_certificate(nodes: Nodes) -> None:
    """Each certificate comes with all its names or not at all."""
    names = ["a.test", "b.test", "c.test", "d.test"]

    def write(number: int) -> requests.Response:
        own = [names[number % 4], names[(number + 1) % 4], f"own{number}.test"]
        body = {"cert": certificate(), "key": private_key(), "snis": own}
        return nodes.ask(number, "POST", "/certificates", body)

    answers: Answers = nodes.at_once(write)
    assert {answer.status_code for answer in answers} <= {201, 400}
    assert all("already associated" in answer.json()["message"] for answer in answers if answer.status_code == 400)
    made = {row["id"]: row["snis"] for row in nodes.all("/certificates", 1)}
    assert made == {answer.json()["id"]: answer.json()["snis"] for answer in answers if answer.status_code == 201}
    assert all(len(snis) == 3 for snis in made.values())
    held = Counter(row["name"] for row in nodes.all("/snis"))
    assert held == Counter(name for snis in made.values() for name in snis)
    assert set(held.values()) == {1}


def test_every_node_reads_what_was_written(nodes: Nodes) -> None:
    """After the answer to a write, both nodes show what it said, by id, by name and in lists."""

    def write(number: int) -> None:
        for at in range(3):
            name = f"read{number}-{at}"
            made = nodes.ask(number, "POST", "/services", {"name": name, "host": "h", "tags": [name]}).json()
            for node in range(2):
                assert nodes.ask(node, "GET", f"/services/{made['id']}").json() == made
                assert nodes.ask(node, "GET", f"/services?tags={name}").json()["data"] == [made]
            changed = nodes.ask(number, "PATCH", f"/services/{name}", {"host": "other"}).json()
            for node in range(2):
                assert nodes.ask(node, "GET", f"/services/{name}").json() == changed
            assert nodes.ask(number, "DELETE", f"/services/{name}").status_code == 204
            for node in range(2):
                assert nodes.ask(node, "GET", f"/services/{made['id']}").status_code == 404

    nodes.at_once(write)


def test_the_log_level_of_all_nodes(nodes: Nodes) -> None:
    def levels() -> list[str]:
        return [nodes.ask(node, "GET", "/debug/node/log-level").json()["message"] for node in range(2)]

    assert nodes.ask(0, "PUT", "/debug/cluster/log-level/debug?timeout=0").json() == {"message": "log level changed"}
    wait_until(lambda: levels() == ["log level: debug"] * 2)
    assert nodes.ask(1, "PUT", "/debug/node/log-level/warn?timeout=0").status_code == 200
    assert levels() == ["log level: debug", "log level: warn"]
    answer = nodes.ask(0, "PUT", "/debug/cluster/log-level/debug?timeout=0").json()
    assert answer == {"message": "log level is already debug"}
    wait_until(lambda: levels() == ["log level: debug"] * 2)
