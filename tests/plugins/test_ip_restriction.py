"""ip-restriction: who comes in by which address."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins.ip_restriction import MAX_DECISIONS, Ranges

Make = Callable[..., InMemoryGateway]


@pytest.mark.parametrize(
    ("config", "ip", "passes"),
    [
        ({"allow": ["10.0.0.1"]}, "10.0.0.1", True),
        ({"allow": ["10.0.0.1"]}, "10.0.0.2", False),
        ({"allow": ["10.0.0.0/8"]}, "10.255.255.255", True),
        ({"allow": ["10.0.0.0/8"]}, "11.0.0.0", False),
        ({"allow": ["10.1.2.3/8"]}, "10.9.9.9", True),
        ({"deny": ["10.0.0.1"]}, "10.0.0.1", False),
        ({"deny": ["10.0.0.1"]}, "10.0.0.2", True),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}, "10.0.0.1", False),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}, "10.0.0.2", True),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}, "192.0.2.1", False),
        ({"allow": [], "deny": ["10.0.0.1"]}, "192.0.2.1", True),
        ({"allow": ["2001:db8::/32"]}, "2001:db8::7", True),
        ({"allow": ["2001:db8::/32"]}, "2001:db9::7", False),
        ({"allow": ["2001:db8::/32"]}, "10.0.0.1", False),
        ({"deny": ["0.0.0.0/0"]}, "2001:db8::7", True),
        ({"deny": ["10.0.0.1"]}, "::ffff:10.0.0.1", False),
        ({"allow": ["10.0.0.1"]}, "::ffff:10.0.0.1", True),
        ({"deny": ["::/0"]}, "fe80::1%eth0", False),
        ({"deny": ["::ffff:10.0.0.1"]}, "10.0.0.1", False),
        ({"deny": ["::ffff:10.0.0.0/104"]}, "::ffff:10.9.9.9", False),
        ({"deny": ["::ffff:10.0.0.0/104"]}, "11.0.0.0", True),
        ({"allow": ["::ffff:0:0/96"]}, "192.0.2.1", True),
        ({"allow": ["::ffff:0:0/96"]}, "2001:db8::7", False),
        ({"deny": ["::/0"]}, "10.0.0.1", True),
    ],
)
def test_lists_decide(plugin: Make, config: dict[str, Any], ip: str, passes: bool) -> None:
    made = plugin("ip-restriction", **config)
    made.peer = (ip, 1)
    for _ in range(2):  # decided, then remembered
        run = made.get()
        assert run.status == (200 if passes else 403)
        assert bool(run.upstreams) == passes
        if not passes:
            assert run.response.json()["message"] == f"IP address not allowed: {ip}"


def test_the_refusal_can_be_worded(plugin: Make) -> None:
    run = plugin("ip-restriction", deny=["127.0.0.0/8"], status=451, message="not here").get()
    assert (run.status, run.response.json()["message"]) == (451, "not here")


@pytest.mark.parametrize("status", [42, 200, 302, 1000])
def test_a_refusal_with_a_status_that_is_none_of_an_error_is_an_error(plugin: Make, status: int) -> None:
    run = plugin("ip-restriction", deny=["127.0.0.0/8"], status=status).get()
    assert (run.status, run.upstreams) == (500, [])


def test_the_address_is_the_one_that_a_trusted_peer_tells() -> None:
    made = InMemoryGateway(trusted_ips="127.0.0.1").use("ip-restriction", deny=["10.0.0.1"])
    try:
        assert made.get("/", headers={"X-Real-IP": "10.0.0.1"}).status == 403
        assert made.get("/", headers={"X-Real-IP": "10.0.0.2"}).status == 200
        made.peer = ("192.0.2.1", 1)
        assert made.get("/", headers={"X-Real-IP": "10.0.0.1"}).status == 200
    finally:
        made.close()


@pytest.mark.parametrize("config", [{"allow": ["0.0.0.0/0"]}, {"deny": ["10.0.0.1"]}])
def test_clients_on_a_unix_socket_are_refused(plugin: Make, config: dict[str, Any]) -> None:
    made = plugin("ip-restriction", **config)
    made.peer = ("", 0)
    run = made.get()
    message = "Cannot identify the client IP address, unix domain sockets are not supported."
    assert (run.status, run.response.json()["message"]) == (403, message)


def test_decisions_remembered_are_bounded(plugin: Make) -> None:
    made = plugin("ip-restriction", deny=["10.0.0.1"])
    instance = made.plugins["ip-restriction"]
    conf = next(iter(made.gateway.plan.global_chain.phases_without_access().chosen))[1]
    for number in range(MAX_DECISIONS + 10):
        instance._decide(conf, str(ip_address(number)))  # type: ignore[attr-defined]
    assert 0 < len(conf.passes) <= MAX_DECISIONS


network = st.builds(lambda ip, bits: f"{ip}/{bits}", st.ip_addresses(v=4), st.integers(8, 32))
networks = st.lists(network, max_size=8)


@given(networks, st.ip_addresses(v=4))
def test_merged_ranges_say_what_the_networks_say(texts: list[str], address: Any) -> None:
    expected = any(address in ip_network(text, strict=False) for text in texts)
    assert (str(address) in Ranges(texts)) == expected


@given(networks)
def test_merged_ranges_hold_their_own_ends(texts: list[str]) -> None:
    ranges = Ranges(texts)
    for text in texts:
        network = ip_network(text, strict=False)
        assert str(network.network_address) in ranges
        assert str(network.broadcast_address) in ranges


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"@entity": ["at least one of these fields must be non-empty: 'config.allow', 'config.deny'"]}),
        ({"allow": ["10.0.0.300"]}, {"config": {"allow": ["invalid ip or cidr range: '10.0.0.300'"]}}),
        ({"deny": ["10.0.0.1", "x"]}, {"config": {"deny": [None, "invalid ip or cidr range: 'x'"]}}),
        ({"allow": ["10.0.0.1"], "status": "403"}, {"config": {"status": "expected a number"}}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("ip-restriction", **config)
    assert caught.value.fields == fields


def test_stream_protocols_are_accepted_and_not_run_for_http(plugin: Make) -> None:
    made = plugin()
    made.insert("plugins", name="ip-restriction", config={"deny": ["127.0.0.1"]}, protocols=["tcp"])
    assert made.get().status == 200
