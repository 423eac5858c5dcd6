"""Explain and live traces through a real gateway with several workers: all requests, masked, for those who may."""

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from kong_gevent.client import ApiError, Client, Unreachable
from tests.gateway import Gateway
from tests.upstream import Upstream
from tests.wire import wait_until

TOKEN = "admin-token-of-these-tests"
LOCKED = {"Authorization": f"Bearer {TOKEN}"}
LIMIT = 30.0


@pytest.fixture(scope="module")
def node(upstream: Upstream) -> Iterator[Gateway]:
    """Two workers, an Admin API that wants tokens, a route with plugins and one without."""
    with Gateway(workers=2, env={"admin_auth": "token", "admin_token": TOKEN}) as gateway:
        gateway.session.headers.update(LOCKED)
        gateway.route(upstream.url, service={"name": "plain"}, name="plain", paths=["/plain"])
        gateway.route(upstream.url, service={"name": "guarded"}, name="guarded", paths=["/guarded"])
        gateway.route("http://127.0.0.1:1", service={"name": "dead", "retries": 1}, name="dead", paths=["/dead"])
        gateway.create("/routes/guarded/plugins", name="key-auth", config={"key_names": ["x-pass"]})
        gateway.create("/routes/guarded/plugins", name="rate-limiting", config={"minute": 1000, "policy": "local"})
        gateway.create(
            "/routes/guarded/plugins", name="request-transformer",
            config={"add": {"headers": ["X-Added:1", "X-Secret-Token:hushhush"]}, "remove": {"headers": ["x-gone"]}},
        )  # fmt: skip
        gateway.create("/routes/guarded/plugins", name="correlation-id", config={"echo_downstream": True})
        gateway.create("/consumers", username="bob")
        gateway.create("/consumers/bob/key-auth", key="hushhush")
        wait_until(lambda: len(gateway.admin("GET", "/status").json()["memory"]["workers_lua_vms"]) == 2, LIMIT)
        yield gateway


@pytest.fixture(scope="module")
def client(node: Gateway) -> Iterator[Client]:
    with Client(node.admin_url, token=TOKEN, timeout=LIMIT) as api:
        yield api


class Tracing:
    """A trace that is on for all workers; ends with the block."""

    def __init__(self, client: Client, **filters: Any) -> None:
        self.messages = client.trace(**filters)
        self.started = next(self.messages)

    def __enter__(self) -> "Tracing":
        self.messages._socket.settimeout(LIMIT)
        return self

    def __exit__(self, *_: object) -> None:
        self.messages.close()

    def next(self) -> dict[str, Any]:
        message = next(self.messages)
        assert message["type"] == "request", message
        return message


def test_requests_of_all_workers_are_seen(node: Gateway, client: Client) -> None:
    with Tracing(client, route="plain") as trace:
        assert sorted(trace.started["workers"]) == node.worker_pids()
        seen: Counter[int] = Counter()
        sent = 0
        while len(seen) < 2 and sent < 400:
            connections = [node.client() for _ in range(20)]
            for connection in connections:
                connection.send(b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            for connection in connections:
                assert connection.answer().status == 200
                connection.close()
            sent += len(connections)
            seen.update(trace.next()["worker"] for _ in connections)
        assert set(seen) == set(node.worker_pids())
        assert sum(seen.values()) == sent


def test_the_story_of_a_request(node: Gateway, client: Client) -> None:
    with Tracing(client, route="guarded") as trace:
        answer = node.get(
            "/guarded/x?x-pass=hushhush&apikey=hushhush&a=1", headers={"X-Gone": "1", "Cookie": "a=hushhush"}
        )
        assert answer.status_code == 200
        told = trace.next()
    assert "hushhush" not in str(told)
    assert told["request_id"] == answer.headers["X-Kong-Request-Id"]
    assert (told["status"], told["ended"], told["method"]) == (200, "upstream", "GET")
    assert told["target"] == "/guarded/x?x-pass=******&apikey=******&a=1"
    assert {kind: told[kind]["name"] for kind in ("route", "service", "consumer")} == {
        "route": "guarded", "service": "guarded", "consumer": "bob",
    }  # fmt: skip
    steps = {(step["phase"], step["plugin"]): step for step in told["steps"]}
    assert [name for phase, name in steps if phase == "access"] == [
        "correlation-id", "key-auth", "rate-limiting", "request-transformer",
    ]  # fmt: skip
    assert steps["access", "key-auth"]["changed"]["consumer"]["username"] == "bob"
    edits = steps["access", "request-transformer"]["changed"]["request_headers"]
    assert ["X-Added", "1"] in edits["set"]
    assert ["X-Secret-Token", "******"] in edits["set"]
    assert edits["removed"] == ["x-gone"]
    limited = steps["access", "rate-limiting"]["changed"]["response_headers"]["set"]
    assert "X-RateLimit-Limit-Minute" in dict(limited)
    assert ("header_filter", "correlation-id") in steps
    assert all(0 <= step["at_us"] <= told["took_us"] and step["took_us"] >= 0 for step in told["steps"])
    (one,) = told["tries"]
    assert (one["ip"], one["failed"]) == ("127.0.0.1", False)
    assert told["upstream"]["at_us"] <= told["took_us"]
    assert told["router"]["took_us"] >= 0


def test_where_requests_end(node: Gateway, client: Client) -> None:
    with Tracing(client) as trace:
        assert node.get("/guarded").status_code == 401
        told = trace.next()
        assert (told["ended"], told["ended_by"], told["consumer"]) == ("plugin", "key-auth", None)
        assert told["steps"][1]["exit"] == {"status": 401, "source": "error"}
        assert node.get("/nowhere").status_code == 404
        told = trace.next()
        assert (told["ended"], told["route"], told["status"]) == ("error", None, 404)
        assert node.get("/dead").status_code == 502
        told = trace.next()
        assert [(one["failed"], one["status"]) for one in told["tries"]] == [(True, 502)] * 2
        with node.client() as raw:
            raw.send(b"NONSENSE\r\n\r\n")
            assert raw.answer().status == 400
        assert trace.next()["status"] == 400


FILTERS: dict[str, dict[str, Any]] = {
    "route": {"route": "plain"},
    "service": {"service": "plain"},
    "path": {"path": "/pla"},
    "status": {"status": ["2xx"]},
    "several": {"route": "plain", "status": ["200", "404"], "path": "/plain"},
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS.keys())
def test_filters(node: Gateway, client: Client, filters: dict[str, Any]) -> None:
    with Tracing(client, **filters) as trace:
        node.get("/guarded")
        node.get("/nowhere")
        node.get("/plain/last")
        assert trace.next()["target"] == "/plain/last"


def test_of_a_consumer(node: Gateway, client: Client) -> None:
    with Tracing(client, consumer="bob") as trace:
        node.get("/plain")
        node.get("/guarded/mine", headers={"x-pass": "hushhush"})
        assert trace.next()["target"] == "/guarded/mine"


def test_a_limit_ends_it(node: Gateway, client: Client) -> None:
    with Tracing(client, limit=2) as trace:
        for _ in range(3):
            node.get("/plain")
        assert [message["type"] for message in trace.messages] == ["request", "request"]


def test_nothing_is_traced_any_more_when_the_socket_is_closed(node: Gateway, client: Client) -> None:
    for _ in range(20):  # more than there are places, so each must have been given back
        with Tracing(client, limit=1) as trace:
            assert trace.started["type"] == "started"
    wait_until(lambda: _can_open(client), LIMIT)
    assert node.get("/plain").status_code == 200


def _can_open(client: Client) -> bool:
    try:
        with Tracing(client):
            return True
    except (Unreachable, StopIteration):
        return False


def test_a_slow_tracer_is_told_what_it_missed(node: Gateway, client: Client, upstream: Upstream) -> None:
    with Tracing(client, route="plain") as trace:
        trace.messages._socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sent = 0
        headers = "".join(f"X-Filler-{number}: {'x' * 400}\r\n" for number in range(60))
        request = f"GET /plain HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()
        with node.client() as connection:
            for _ in range(400):
                connection.send(request)
                assert connection.answer().status == 200
                sent += 1
        seen = dropped = 0
        while seen + dropped < sent:
            message = next(trace.messages)
            if message["type"] == "dropped":
                dropped += message["count"]
            else:
                seen += 1
        assert (seen + dropped, dropped > 0) == (sent, True)


# --- who may -------------------------------------------------------------------------------------------------------


def open_socket(node: Gateway, **options: Any) -> websocket.WebSocket:
    url = node.admin_url.replace("http", "ws") + "/debug/trace"
    options.setdefault("suppress_origin", True)
    return websocket.create_connection(url, timeout=LIMIT, **options)


def test_no_trace_without_a_token(node: Gateway) -> None:
    for headers in ([], ["Authorization: Bearer wrong"], ["Kong-Admin-Token: wrong"]):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            open_socket(node, header=headers)
        assert refused.value.status_code == 401
    with Client(node.admin_url, token="wrong") as stranger, pytest.raises(ApiError) as error:
        stranger.trace()
    assert (error.value.status, error.value.message) == (401, "Unauthorized")
    with Client(node.admin_url) as stranger, pytest.raises(ApiError):
        stranger.explain("GET", "http://a/")


def test_read_only_tokens_and_browsers(node: Gateway) -> None:
    token = node.create("/admin-tokens", name="look", read_only=True)["token"]
    for options in (
        {"header": [f"Authorization: Bearer {token}"]},
        {"header": [f"Kong-Admin-Token: {token}"]},
        {"subprotocols": ["kong.trace", f"bearer.{token}"]},
    ):
        opened = open_socket(node, **options)
        assert json.loads(opened.recv())["type"] == "started"
        opened.close()
    with Client(node.admin_url, token=token) as reader:
        assert reader.explain("GET", "http://a/plain")["route"]["name"] == "plain"


def test_pages_of_other_sites_may_not(node: Gateway) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        open_socket(node, header=[f"Authorization: Bearer {TOKEN}"], suppress_origin=False, origin="http://evil.test")
    assert refused.value.status_code == 403
    own = open_socket(node, header=[f"Authorization: Bearer {TOKEN}"], suppress_origin=False, origin=node.admin_url)
    own.close()


def test_bad_requests(node: Gateway) -> None:
    for query, fields in (
        ("status=9", {"status": ["expected a status such as 404, or a class such as 5xx"]}),
        ("sample=2", {"sample": "value should be between 0 and 1"}),
        ("limit=0", {"limit": "value should be between 1 and 1000000"}),
        ("x=1", {"x": "unknown field"}),
    ):
        answer = node.admin("GET", f"/debug/trace?{query}")
        assert (answer.status_code, answer.json()["fields"]) == (400, fields)
    plain = node.admin("GET", "/debug/trace")
    assert (plain.status_code, plain.headers["Upgrade"]) == (426, "websocket")


# --- the commands --------------------------------------------------------------------------------------------------


def test_the_commands(node: Gateway) -> None:
    command = [sys.executable, "-m", "kong_gevent"]
    environment = {**node.environment(), "KONG_GEVENT_ADMIN_TOKEN": TOKEN}
    for url in f"{node.proxy_url}/guarded?x-pass=1", "/guarded?x-pass=1":
        done = subprocess.run(
            [*command, "explain", "GET", url, "-p", str(node.prefix)],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Route         guarded  by path /guarded" in done.stdout
    with subprocess.Popen(
        [*command, "trace", "--route", "guarded", "--limit", "2", "-p", str(node.prefix)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "tracing 2 workers; Ctrl-C ends it\n"
        node.get("/guarded", headers={"x-pass": "hushhush"})
        node.get("/guarded")
        text = process.stdout.read()
        assert process.wait(30) == 0, process.stderr.read()
    assert "access key-auth  consumer bob" in text
    assert "answers 401" in text
    assert "ended: plugin key-auth" in text
    assert "hushhush" not in text
