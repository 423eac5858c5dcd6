"""prometheus: which metrics there are with which labels, and that they are exact over workers and their deaths."""

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, respond
from tests.gateway import Gateway
from tests.upstream import Upstream
from tests.wire import wait_until

Make = Callable[..., InMemoryGateway]
ALL = {"status_code_metrics": True, "latency_metrics": True, "bandwidth_metrics": True}


def metrics(made: InMemoryGateway, listener: str = "admin") -> list[str]:
    answer = made.admin("GET", "/metrics", listener)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    return str(answer.text).splitlines()


def test_requests_by_status_and_source(plugin: Make) -> None:
    made = plugin("prometheus", status_code_metrics=True)
    made.update("services", made.service["id"], name="fruit.api")
    made.update("routes", made.route["id"], name="r1")
    made.get()
    made.get()
    made.use("request-termination", status_code=418)
    made.get()
    shown = metrics(made)
    labels = 'service="fruit.api",route="r1"'
    assert (
        f'kong_http_requests_total{{{labels},code="200",source="service",workspace="default",consumer=""}} 2' in shown
    )
    assert f'kong_http_requests_total{{{labels},code="418",source="kong",workspace="default",consumer=""}} 1' in shown
    assert not [line for line in shown if line.startswith(("kong_bandwidth", "kong_request_latency"))]


def test_without_names_there_are_host_and_id(plugin: Make) -> None:
    made = plugin("prometheus", status_code_metrics=True)
    made.get()
    line = next(line for line in metrics(made) if line.startswith("kong_http_requests_total{"))
    assert f'route="{made.route["id"]}"' in line
    assert f'service="{made.service["name"]}"' in line
    made.update("services", made.service["id"], name=None)
    made.get()
    assert any('service="upstream.test"' in line for line in metrics(made))


def test_what_matched_no_route_is_not_counted(plugin: Make) -> None:
    made = plugin("prometheus", **ALL)
    made.update("routes", made.route["id"], paths=["/only"])
    made.get("/nowhere")
    assert not [line for line in metrics(made) if line.startswith("kong_http_requests_total{")]


@pytest.mark.parametrize(("per_consumer", "name"), [(True, "ada"), (False, "")])
def test_consumers_are_told_apart_when_asked_for(plugin: Make, per_consumer: bool, name: str) -> None:
    made = plugin("prometheus", per_consumer=per_consumer, **ALL).use("key-auth")
    made.consumer("ada", "k")
    made.get(headers={"apikey": "k"})
    shown = metrics(made)
    assert any(f'code="200",source="service",workspace="default",consumer="{name}"}} 1' in line for line in shown)
    assert any(f'direction="egress",workspace="default",consumer="{name}"}}' in line for line in shown)


def test_latencies_and_traffic(plugin: Make) -> None:
    made = plugin("prometheus", **ALL)
    run = made.post("/x", b"12345")
    shown = metrics(made)
    place = f'service="upstream",route="{made.route["id"]}"'
    for name in ("kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms"):
        assert f'{name}_count{{{place},workspace="default"}} 1' in shown
        assert f'{name}_bucket{{{place},workspace="default",le="+Inf"}} 1' in shown
    assert sum(line.startswith("kong_kong_latency_ms_bucket{") for line in shown) == 18
    assert sum(line.startswith("kong_request_latency_ms_bucket{") for line in shown) == 14
    record = run.log
    ingress = next(line for line in shown if 'direction="ingress"' in line)
    egress = next(line for line in shown if 'direction="egress"' in line)
    assert ingress.endswith(f" {record['request']['size']}")
    assert egress.endswith(f" {record['response']['size']}")


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("kong_kong_latency_ms", "1 2 5 7 10 15 20 30 50 75 100 200 500 750 1000 3000 6000"),
        ("kong_upstream_latency_ms", "25 50 80 100 250 400 700 1000 2000 5000 10000 30000 60000"),
        ("kong_request_latency_ms", "25 50 80 100 250 400 700 1000 2000 5000 10000 30000 60000"),
    ],
)
def test_buckets_are_kongs(plugin: Make, name: str, bounds: str) -> None:
    made = plugin("prometheus", **ALL)
    made.get()
    found = re.findall(rf'^{name}_bucket{{.*le="([^"]+)"}}', "\n".join(metrics(made)), re.MULTILINE)
    assert found == [*bounds.split(), "+Inf"]


@pytest.mark.parametrize("listener", ["admin", "status"])
def test_the_nodes_own_metrics(plugin: Make, listener: str) -> None:
    made = plugin("prometheus")
    text = "\n".join(metrics(made, listener))
    node = made.kit.node_id
    for state in ("accepted", "handled", "total", "active", "reading", "writing", "waiting"):
        assert f'kong_nginx_connections_total{{node_id="{node}",subsystem="http",state="{state}"}} ' in text
    for line in (
        f'kong_nginx_requests_total{{node_id="{node}",subsystem="http"}} ',
        'kong_nginx_timers{state="running"} ',
        'kong_nginx_timers{state="pending"} ',
        "kong_datastore_reachable 1",
        f'kong_node_info{{node_id="{node}",version="3.9.1"}} 1',
        "kong_nginx_metric_errors_total 0",
    ):
        assert line in text


def test_without_an_upstream_there_is_no_upstream_latency(plugin: Make) -> None:
    made = plugin("prometheus", **ALL).use("request-termination")
    made.get()
    shown = metrics(made)
    assert any(line.startswith("kong_kong_latency_ms_count") for line in shown)
    upstream = [line for line in shown if line.startswith("kong_upstream_latency_ms_count")]
    assert all(line.endswith(" 0") for line in upstream)


def test_only_the_node_is_shown_when_the_plugin_is_off(plugin: Make) -> None:
    made = plugin()
    made.get()
    names = {re.split(r"[{ ]", line)[0] for line in metrics(made) if not line.startswith("#")}
    assert names >= {"kong_node_info", "kong_datastore_reachable", "kong_nginx_requests_total"}
    assert "kong_nginx_metric_errors_total" in names
    assert not {name for name in names if name.startswith(("kong_http", "kong_bandwidth", "kong_request_latency"))}


def test_what_was_counted_is_shown_while_the_plugin_is_configured(plugin: Make) -> None:
    made = plugin("prometheus", **ALL)
    made.get()
    (entity,) = made.store.dao("plugins").each()
    made.update("plugins", entity["id"], enabled=False)
    made.get()
    assert not [line for line in metrics(made) if line.startswith(("kong_http", "kong_request_latency"))]
    assert "kong_nginx_metric_errors_total 0" in metrics(made)
    made.update("plugins", entity["id"], enabled=True)
    assert [line[-2:] for line in metrics(made) if line.startswith("kong_http_requests_total{")] == [" 1"]


SWITCHES = {
    "status_code_metrics": {"kong_http_requests_total"},
    "latency_metrics": {"kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms"},
    "bandwidth_metrics": {"kong_bandwidth_bytes"},
    "upstream_health_metrics": {"kong_upstream_target_health"},
    "ai_metrics": set(),
    "per_consumer": set(),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_brings_its_own_metrics(plugin: Make, switch: str) -> None:
    made = plugin("prometheus", **{switch: True})
    upstream = made.insert("upstreams", name="u")
    made.insert("targets", upstream={"id": upstream["id"]}, target="127.0.0.1:80")
    made.get()
    shown = {line.split()[2] for line in metrics(made) if line.startswith("# TYPE")}
    switched = set().union(*SWITCHES.values())
    assert shown & switched == SWITCHES[switch]


def health_of(lines: list[str]) -> dict[tuple[str, str, str], list[str]]:
    """The states that are 1, by upstream, target and address; each has all four states."""
    found: dict[tuple[str, str, str], list[str]] = {}
    states: dict[tuple[str, str, str], int] = {}
    for line in lines:
        match = re.fullmatch(
            r'kong_upstream_target_health\{upstream="(.*)",target="(.*)",address="(.*)",'
            r'state="(.*)",subsystem="http"\} ([01])',
            line,
        )
        if match:
            place = (match[1], match[2], match[3])
            states[place] = states.get(place, 0) + 1
            if match[5] == "1":
                found.setdefault(place, []).append(match[4])
    assert set(states.values()) <= {4}
    return found


def test_the_health_of_targets(plugin: Make) -> None:
    made = plugin("prometheus", upstream_health_metrics=True)
    checks = {"passive": {"unhealthy": {"http_failures": 1}}, "active": {}}
    for name, rules in (("checked", checks), ("plain", {})):
        upstream = made.insert("upstreams", name=name, healthchecks=rules)
        made.insert("targets", upstream={"id": upstream["id"]}, target="127.0.0.1:80")
    made.update("services", made.service["id"], host="checked")
    checked, plain = ("checked", "127.0.0.1:80", "127.0.0.1:80"), ("plain", "127.0.0.1:80", "127.0.0.1:80")
    assert health_of(metrics(made)) == {checked: ["healthy"], plain: ["healthchecks_off"]}
    made.upstream.respond = respond(500, "")
    made.get()
    assert health_of(metrics(made, "status")) == {checked: ["unhealthy"], plain: ["healthchecks_off"]}


def test_both_listeners_show_them_and_take_nothing_but_get(plugin: Make) -> None:
    made = plugin("prometheus", **ALL)
    made.get()
    assert "kong_datastore_reachable 1" in metrics(made, "status")
    assert made.admin("POST", "/metrics", json={}).status_code == 405
    assert made.admin("HEAD", "/metrics").status_code == 200


@pytest.mark.parametrize("field", ["per_consumer", "status_code_metrics", "ai_metrics", "upstream_health_metrics"])
def test_bad_settings_are_refused(plugin: Make, field: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("prometheus", **{field: "yes"})
    assert caught.value.fields == {"config": {field: "expected a boolean"}}


class TestNode:
    def test_the_health_of_targets_is_the_same_in_all_workers(self, make_gateway: Callable[..., Gateway]) -> None:
        gateway = make_gateway(workers=3)
        upstream = gateway.create("/upstreams", name="u", healthchecks={"passive": {"unhealthy": {"http_failures": 1}}})
        for target in ("127.0.0.1:8001", "no-such-name.invalid:81", "[::1]:82"):
            gateway.create("/upstreams/u/targets", target=target)
        gateway.create("/plugins", name="prometheus", config={"upstream_health_metrics": True})
        gateway.admin("PUT", f"/upstreams/{upstream['id']}/targets/127.0.0.1:8001/unhealthy")
        expected = {
            ("u", "127.0.0.1:8001", "127.0.0.1:8001"): ["unhealthy"],
            ("u", "no-such-name.invalid:81", ""): ["dns_error"],
            ("u", "[0000:0000:0000:0000:0000:0000:0000:0001]:82", "[::1]:82"): ["healthy"],
        }
        for _ in range(12):
            shown = requests.get(f"{gateway.status_url}/metrics", timeout=30, headers={"Connection": "close"})
            assert health_of(shown.text.splitlines()) == expected

    def requests_of(self, gateway: Gateway) -> dict[str, int]:
        found: dict[str, int] = {}
        for line in requests.get(f"{gateway.status_url}/metrics", timeout=10).text.splitlines():
            match = re.match(r'kong_http_requests_total\{.*code="(\d+)".*\} (\d+)$', line)
            if match:
                found[match[1]] = int(match[2])
        return found

    def test_they_are_exact_over_workers_their_deaths_and_a_reload(
        self, make_gateway: Callable[..., Gateway], upstream: Upstream
    ) -> None:
        gateway = make_gateway(workers=3)
        gateway.route(upstream.url)
        gateway.create("/plugins", name="prometheus", config={"status_code_metrics": True})

        def send(count: int) -> None:
            for _ in range(count):  # a connection each, so that all workers get some
                assert requests.get(f"{gateway.proxy_url}/x", timeout=10).status_code == 200

        def workers() -> set[int]:
            info: Any = requests.get(f"{gateway.admin_url}/status", timeout=10).json()
            return {worker["pid"] for worker in info["memory"]["workers_lua_vms"]}

        send(60)
        assert self.requests_of(gateway) == {"200": 60}
        before = workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(workers()) == 3 and not workers() & before)
        assert self.requests_of(gateway) == {"200": 60}
        send(40)
        assert self.requests_of(gateway) == {"200": 100}
        gateway.reload()
        send(10)
        assert self.requests_of(gateway) == {"200": 110}
