"""Whom the gateway believes about the client, and what it tells the upstream: row by row."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.runtime.forwarding import Forwarding

Lines = list[tuple[str, str]]
Make = Callable[..., InMemoryGateway]
ALL = "0.0.0.0/0,::/0"
XFF, REAL = "X-Forwarded-For", "X-Real-IP"


@pytest.fixture
def make() -> Iterator[Make]:
    """A gateway in this process, with these settings, asked by a client of this address."""
    made: list[InMemoryGateway] = []

    def build(peer: str = "10.0.0.1", **settings: str) -> InMemoryGateway:
        gateway = InMemoryGateway(**settings)
        gateway.peer = (peer, 50000)
        made.append(gateway)
        return gateway

    yield build
    for gateway in made:
        gateway.close()


def field(run: Run, name: str) -> str | None:
    """What the upstream got."""
    values = run.upstream.headers.all(name)
    assert len(values) <= 1, name
    return values[0] if values else None


# trusted_ips


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ("", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.77/8", "10.0.0.1", True),
        ("192.168.0.0/16,10.0.0.0/8", "10.0.0.1", True),
        ("0.0.0.0/0", "203.0.113.1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "10.0.0.1", False),
        (ALL, "2001:db8::1", True),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("unix:", "", True),
        ("unix:", "10.0.0.1", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8,unix:", "", True),
    ],
)
def test_who_is_trusted(make: Make, trusted: str, peer: str, believed: bool) -> None:
    run = make(peer, trusted_ips=trusted).get(headers=[(REAL, "9.9.9.9"), ("X-Forwarded-Proto", "https")])
    assert field(run, REAL) == ("9.9.9.9" if believed else peer or "unix:")
    assert field(run, "X-Forwarded-Proto") == ("https" if believed else "http")
    assert run.log["client_ip"] == ("9.9.9.9" if believed else peer)


# real_ip_header, real_ip_recursive


@pytest.mark.parametrize("peer", ["10.0.0.1", "203.0.113.99"], ids=["trusted", "not trusted"])
@pytest.mark.parametrize(
    ("header", "recursive", "lines", "client"),
    [
        (REAL, "off", [], None),
        (REAL, "off", [(REAL, "1.2.3.4")], "1.2.3.4"),
        (REAL, "off", [("x-real-ip", " 1.2.3.4 ")], "1.2.3.4"),
        (REAL, "off", [(REAL, "2001:DB8:0::1")], "2001:db8::1"),
        (REAL, "off", [(REAL, "1.2.3.4:5678")], "1.2.3.4"),
        (REAL, "off", [(REAL, "[2001:db8::1]:5678")], "2001:db8::1"),
        (REAL, "off", [(REAL, "1.2.3.4, 5.6.7.8")], "5.6.7.8"),
        (REAL, "off", [(REAL, "")], None),
        (REAL, "off", [(REAL, "nobody")], None),
        (REAL, "off", [(REAL, "1.2.3")], None),
        (REAL, "off", [(REAL, "fe80::1%eth0")], None),
        (REAL, "off", [(XFF, "1.2.3.4")], None),
        (XFF, "off", [(REAL, "1.2.3.4")], None),
        (XFF, "off", [(XFF, "1.2.3.4")], "1.2.3.4"),
        (XFF, "off", [(XFF, "1.2.3.4, 5.6.7.8")], "5.6.7.8"),
        (XFF, "off", [(XFF, "1.2.3.4, 10.1.1.1")], "10.1.1.1"),
        (XFF, "off", [(XFF, "1.2.3.4"), (XFF, "5.6.7.8")], "5.6.7.8"),
        (XFF, "off", [(XFF, "1.2.3.4,,  ,")], "1.2.3.4"),
        (XFF, "off", [(XFF, "1.2.3.4, nobody")], None),
        (XFF, "on", [(XFF, "1.2.3.4")], "1.2.3.4"),
        (XFF, "on", [(XFF, "1.2.3.4, 5.6.7.8")], "5.6.7.8"),
        (XFF, "on", [(XFF, "1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        (XFF, "on", [(XFF, "1.2.3.4, 10.1.1.1, 5.6.7.8, 10.2.2.2")], "5.6.7.8"),
        (XFF, "on", [(XFF, "10.3.3.3, 10.1.1.1, 10.2.2.2")], "10.3.3.3"),
        (XFF, "on", [(XFF, "1.2.3.4"), (XFF, "10.1.1.1")], "1.2.3.4"),
        (XFF, "on", [(XFF, "nobody, 10.1.1.1")], "10.1.1.1"),
        (XFF, "on", [(XFF, "nobody")], None),
        ("CF-Connecting-IP", "off", [("CF-Connecting-IP", "1.2.3.4"), (REAL, "9.9.9.9")], "1.2.3.4"),
        ("cf_connecting_ip", "off", [("CF-Connecting-IP", "1.2.3.4")], "1.2.3.4"),
        ("CF-Connecting-IP", "on", [("CF-Connecting-IP", "1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        ("proxy_protocol", "off", [(REAL, "9.9.9.9"), (XFF, "9.9.9.9"), ("Proxy-Protocol", "9.9.9.9")], None),
    ],
)
def test_who_the_client_is(
    make: Make, peer: str, header: str, recursive: str, lines: Lines, client: str | None
) -> None:
    gateway = make(peer, trusted_ips="10.0.0.0/8", real_ip_header=header, real_ip_recursive=recursive)
    run = gateway.get(headers=lines)
    expected = client if client and peer == "10.0.0.1" else peer
    assert (field(run, REAL), run.log["client_ip"]) == (expected, expected)
    sent = ", ".join(value for name, value in lines if name == XFF)
    assert field(run, XFF) == (f"{sent}, {peer}" if sent else expected)


# forwarding fields


OWN = {"Proto": "http", "Host": "gateway.test", "Port": "8000", "Path": "/a/b", "Prefix": "/a"}
TOLD = {"Proto": "https", "Host": "outer.test", "Port": "443", "Path": "/outer", "Prefix": "/pre"}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_a_field_is_kept_from_trusted_peers_and_replaced_otherwise(make: Make, name: str, trusted: bool) -> None:
    gateway = make(trusted_ips="10.0.0.0/8" if trusted else "192.168.0.0/16")
    gateway.insert("routes", paths=["/a"], service={"id": gateway.service["id"]})
    full = f"X-Forwarded-{name}"
    run = gateway.get("/a/b?q=1", headers=[("Host", "gateway.test:8000"), (full, TOLD[name])])
    assert field(run, full) == (TOLD[name] if trusted else OWN[name])
    for other in OWN.keys() - {name}:
        assert field(run, f"X-Forwarded-{other}") == OWN[other], "the others are our own"


def test_no_prefix_is_told_where_none_was_stripped(make: Make) -> None:
    assert field(make().get("/x"), "X-Forwarded-Prefix") is None
    assert field(make(trusted_ips=ALL).get("/x"), "X-Forwarded-Prefix") is None


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 426)])
def test_https_is_what_a_trusted_peer_says(make: Make, trusted: bool, status: int) -> None:
    gateway = make(trusted_ips="10.0.0.0/8" if trusted else "")
    gateway.insert("routes", paths=["/s"], protocols=["https"], service={"id": gateway.service["id"]})
    assert gateway.get("/s", headers={"X-Forwarded-Proto": "https"}).status == status
    assert gateway.get("/s").status == 426


# port_maps


@pytest.mark.parametrize(
    ("maps", "port"),
    [("", "8000"), ("80:8000", "80"), ("443:8443", "8000"), ("443:8443, 80:8000", "80"), ("65535:8000", "65535")],
)
def test_the_published_port_is_told(make: Make, maps: str, port: str) -> None:
    assert field(make(port_maps=maps).get(), "X-Forwarded-Port") == port


@pytest.mark.parametrize(
    ("maps", "host", "matched"),
    [
        ("", "a.test", "port 8000"),
        ("", "a.test:80", "port 80"),
        ("", "a.test:8000", "port 8000"),
        ("80:8000", "a.test", "port 80"),
        ("80:8000", "a.test:80", "port 80"),
        ("80:8000", "a.test:8000", "port 8000"),
        ("80:8000", "a.test:81", "any"),
        ("81:8000", "a.test", "any"),
    ],
)
def test_routes_with_a_port_go_by_it(make: Make, maps: str, host: str, matched: str) -> None:
    """The port of the Host field counts; where it has none, the published one."""
    gateway = make(port_maps=maps)
    gateway.delete("routes", gateway.route["id"])
    service = {"id": gateway.service["id"]}
    for name, hosts in (("port-80", ["a.test:80"]), ("port-8000", ["a.test:8000"])):
        gateway.insert("routes", name=name, hosts=hosts, service=service)
    gateway.insert("routes", name="any", paths=["/"], service=service)
    run = gateway.get(headers={"Host": host})
    assert run.log["route"]["name"] == matched.replace(" ", "-")


PORTS = {b"443": 443, b"65535": 65535, b"65536": 8000, b"\xb2": 8000, b"4\xb9": 8000, b"-1": 8000, b"9" * 5000: 8000}


@pytest.mark.parametrize("told", PORTS, ids=range(len(PORTS)))
def test_a_port_that_is_none_does_not_count(told: bytes) -> None:
    """Also where a client's field is passed on by a proxy that is trusted."""
    fields = SimpleNamespace(forwarding={b"x-forwarded-port": told})
    ctx: Any = SimpleNamespace(connection=SimpleNamespace(trusted=True, port=8000), fields=fields)
    assert Forwarding([ip_network("0.0.0.0/0")], False, "x-real-ip", False, b"x").port(ctx) == PORTS[told]
