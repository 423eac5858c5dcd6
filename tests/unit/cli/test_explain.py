"""`kong-gevent explain`: what it prints, and its exit codes, on a gateway in this process."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kong_gevent.cli import explain
from kong_gevent.client import Client
from kong_gevent.client.errors import refusal
from kong_gevent.pdk.testing import InMemoryGateway


class LocalClient(Client):
    """A client whose requests stay in this process."""

    def __init__(self, gateway: InMemoryGateway) -> None:
        super().__init__("http://127.0.0.1:1")
        self.gateway = gateway

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> Any:
        answer = self.gateway.admin(method, path, json=body)
        if answer.status_code >= 400:
            raise refusal(method, path, answer.status_code, answer.json)
        return answer.json


@pytest.fixture(scope="module")
def gateway() -> Iterator[InMemoryGateway]:
    node = InMemoryGateway()
    node.update("routes", node.route["id"], name="all", paths=["/"])
    for name, fields in (
        ("orders", {"paths": ["/orders"], "methods": ["PUT"]}),
        ("api", {"paths": ["/orders/7"]}),
        ("secure", {"paths": ["/secure"], "protocols": ["https"]}),
    ):
        node.insert("routes", name=name, service={"id": node.service["id"]}, **fields)
    node.use("key-auth", on="service").use("rate-limiting", minute=5).use("rate-limiting", on="service", minute=9)
    node.consumer("bob")
    upstream = node.insert("upstreams", name="pool", algorithm="consistent-hashing", hash_on="path")
    node.insert("targets", upstream={"id": upstream["id"]}, target="one.test:9001", weight=10)
    pooled = node.insert("services", name="pooled", host="pool")
    node.insert("routes", name="pool", paths=["/pool"], service={"id": pooled["id"]})
    yield node
    node.close()


@pytest.fixture
def run(gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    @contextmanager
    def connect(*_: Any) -> Iterator[Client]:
        yield LocalClient(gateway)

    monkeypatch.setattr(explain, "connect", connect)
    return lambda *arguments, **options: CliRunner().invoke(explain.command, arguments, **options)


def invoke(run: Callable[..., Result], *arguments: str, code: int = 0) -> list[str]:
    done = run(*arguments, standalone_mode=False)
    assert done.exception is None
    assert done.return_value == code
    return done.output.splitlines()


def test_a_request_that_is_proxied(run: Callable[..., Result]) -> None:
    lines = invoke(run, "get", "http://api.test/orders/7?key=hush", "-H", "X-A: 1", "--consumer", "bob")
    for line in (
        "Request       GET http://api.test/orders/7?key=****** from 127.0.0.1",
        "Outcome       goes to http://upstream.test/?key=******",
        "Route         api  by path /orders/7",
        "Other routes  all: matches too; the longer path decides (9 against 1)",
        "              orders: methods PUT, the request has GET",
        "Addresses     127.0.0.1:80",
        "              X-A: 1",
        "              X-Consumer-Username: bob",
        "Plugins       key-auth  service upstream  priority 1250",
        "              rate-limiting  service upstream  priority 910",
        "Phases        access: key-auth, rate-limiting",
    ):
        assert line in lines
    assert any(line.startswith("                instead of that of global (") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_colours_on_a_terminal(run: Callable[..., Result]) -> None:
    assert "\x1b[32mgoes to" in run("GET", "http://api.test/", color=True).output


def test_an_upstream(run: Callable[..., Result]) -> None:
    lines = invoke(run, "GET", "http://api.test/pool/x")
    assert "Upstream      pool  consistent-hashing" in lines
    assert "              hash of path '/pool/x' leads to one.test:9001 (127.0.0.1:9001)" in lines
    assert "              one.test:9001  weight 10  healthchecks_off  127.0.0.1:9001" in lines


def test_an_answer_of_the_gateway(run: Callable[..., Result]) -> None:
    lines = invoke(run, "GET", "http://api.test/secure", code=explain.ANSWERED)
    assert "Outcome       426 Please use HTTPS protocol" in lines
    assert "              Upgrade: TLS/1.2, HTTP/1.1" in lines


def test_a_request_that_is_refused(run: Callable[..., Result]) -> None:
    lines = invoke(run, "GET", "http://api.test/%zz", code=explain.ANSWERED)
    assert lines[:3] == [
        "Request       GET http://-/%zz from 127.0.0.1",
        "Outcome       400 Bad request",
        "              broken escape in the path",
    ]


def test_json(run: Callable[..., Result]) -> None:
    told = json.loads("\n".join(invoke(run, "GET", "http://api.test/", "--near", "0", "--json")))
    assert told["route"]["name"] == "all"
    assert told["candidates"] == []


def test_bad_input_is_named(run: Callable[..., Result]) -> None:
    done = run("GET", "nonsense")
    assert done.exit_code == 1
    assert "url: expected http(s)://host[:port]/path" in str(done.exception)
