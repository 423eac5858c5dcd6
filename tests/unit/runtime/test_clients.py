"""Whose connections are counted together, and that each is counted once."""

from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.runtime.clients import AddressCounts, ClientLimits

AT_MOST = 2


@pytest.fixture
def limits() -> ClientLimits:
    settings: Any = SimpleNamespace(
        nginx_events_worker_connections="auto",
        client_max_connections=0,
        client_max_connections_per_address=AT_MOST,
    )
    lane: Any = SimpleNamespace(index=0)
    return ClientLimits(settings, AddressCounts(1), lane, [], lambda ip: ip == "10.0.0.1")


SAME = {
    "IPv4": ("192.0.2.1", "192.0.2.1"),
    "a network of IPv6": ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
    "another spelling": ("2001:db8::1", "2001:0db8:0000::1"),
    "IPv4 on a listener of both": ("::ffff:192.0.2.1", "192.0.2.1"),
    "a zone": ("fe80::1%eth0", "fe80::2"),
}
OTHERS = {
    "IPv4": ("192.0.2.1", "192.0.2.2"),
    "networks of IPv6": ("2001:db8:1:2::1", "2001:db8:1:3::1"),
    "IPv4 on a listener of both": ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
}


@pytest.mark.parametrize("addresses", SAME.values(), ids=SAME)
def test_one_client(limits: ClientLimits, addresses: tuple[str, str]) -> None:
    """An IPv6 client has 2⁶⁴ addresses, all of which count as one."""
    one, other = addresses
    assert [limits.enter(serial, one) for serial in range(AT_MOST)] == [""] * AT_MOST
    assert limits.enter(7, other) == "its address has 2 connections"
    limits.leave(0)
    assert limits.enter(7, other) == ""
    assert limits.enter(8, one) == "its address has 2 connections"
    for serial in (1, 7):
        limits.leave(serial)
    assert limits.enter(9, one) == ""


@pytest.mark.parametrize("addresses", OTHERS.values(), ids=OTHERS)
def test_several_clients(limits: ClientLimits, addresses: tuple[str, str]) -> None:
    assert [limits.enter(serial, address) for serial, address in enumerate(addresses * AT_MOST)] == [""] * 4


@pytest.mark.parametrize("address", ["", "10.0.0.1"], ids=["unix", "trusted"])
def test_some_are_not_counted(limits: ClientLimits, address: str) -> None:
    assert {limits.enter(serial, address) for serial in range(10)} == {""}
