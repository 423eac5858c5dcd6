"""What the gateway adds to requests and answers, removes from them, and says itself; the settings that change it."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import ask_once
from tests.upstream import Upstream, answer, plain, script
from tests.wire import Answer, Request

ID = re.compile(r"[0-9a-f]{32}")
FORWARDING = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-path",
    "x-forwarded-prefix",
)


def sent(upstream: Upstream) -> Request:
    """The last request that the upstream received."""
    return upstream.requests[-1]


def forwarded(upstream: Upstream) -> tuple[str | None, ...]:
    """Its forwarding fields, in the order of FORWARDING, each of them there once at most."""
    assert all(len(sent(upstream).all(name)) <= 1 for name in FORWARDING)
    return tuple(sent(upstream).get(name) for name in FORWARDING)


# requests


def test_forwarding_fields_of_an_unknown_peer(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    port = str(gateway.proxy_port)
    ask_once(gateway, "GET", path + "/a%20b?q=1", host="Api.Test:8000")
    own = ("127.0.0.1", "http", "Api.Test", port, path + "/a%20b", path)
    assert forwarded(upstream)[1:2] + forwarded(upstream)[3:] == own[1:2] + own[3:]
    assert forwarded(upstream)[0] == "127.0.0.1"
    assert (forwarded(upstream)[2] or "").lower() == "api.test"
    assert sent(upstream).get("x-real-ip") == "127.0.0.1"
    assert sent(upstream).get("via") == "1.1 kong/3.9.1"
    told = [f"X-Forwarded-{name}: evil" for name in ("Proto", "Host", "Port", "Path", "Prefix")]
    lines = [
        *told,
        "X-Forwarded-For: 1.2.3.4",
        "X-Real-IP: 1.2.3.4",
        "Forwarded: for=1.2.3.4",
        "Proxy: x",
        "X-Original-URL: /y",
    ]
    ask_once(gateway, "GET", path, *lines)
    assert forwarded(upstream) == ("1.2.3.4, 127.0.0.1", "http", "gateway.test", port, path, path)
    assert sent(upstream).get("x-real-ip") == "127.0.0.1"
    assert [sent(upstream).get(name) for name in ("forwarded", "proxy", "x-original-url")] == [None] * 3


def test_via_is_appended(gateway: Gateway, site: Any) -> None:
    path, upstream = site(plain(b"x", headers=[("Via", "1.1 inner")]))
    reply = ask_once(gateway, "GET", path, "Via: 1.0 outer")
    assert ", ".join(sent(upstream).all("via")) == "1.0 outer, 1.1 kong/3.9.1"
    assert ", ".join(reply.all("via")) == "1.1 inner, 1.1 kong/3.9.1"


def test_hop_by_hop_fields_end_here(gateway: Gateway, site: Any) -> None:
    fields = [
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("X-End", "2"),
    ]
    path, upstream = site(plain(b"x", headers=fields))
    lines = [
        "Connection: close, X-Mine, Authorization",
        "X-Mine: 1",
        "Authorization: Basic x",
        "Keep-Alive: 5",
        "Upgrade: h2c",
    ]
    with gateway.client() as client:
        client.send(
            "\r\n".join([f"GET {path} HTTP/1.1", "Host: a.test", *lines, "Proxy-Connection: x", "", ""]).encode()
        )
        reply = client.answer()
    received = [
        sent(upstream).get(name) for name in ("x-mine", "keep-alive", "upgrade", "proxy-connection", "authorization")
    ]
    assert received == [None, None, None, None, "Basic x"]
    assert sent(upstream).get("connection") == "keep-alive"
    assert [reply.get(name) for name in ("x-hop", "keep-alive", "upgrade", "x-end")] == [None, None, None, "2"]


TRUSTED = {"trusted_ips": "127.0.0.0/8,10.0.0.0/8"}


@pytest.fixture(scope="module")
def trusting() -> Any:
    with Gateway(
        env={**TRUSTED, "real_ip_header": "X-Forwarded-For", "real_ip_recursive": "on", "port_maps": ""}
    ) as node:
        yield node


def test_forwarding_fields_of_a_trusted_peer(trusting: Gateway) -> None:
    with Upstream() as upstream:
        trusting.route(upstream.url, paths=["/t"])
        lines = [
            "Proto: https",
            "Host: outer.test",
            "Port: 443",
            "Path: /outer",
            "Prefix: /pre",
            "For: 1.2.3.4, 10.1.1.1",
        ]
        ask_once(trusting, "GET", "/t/x", *(f"X-Forwarded-{line}" for line in lines))
        kept = ("1.2.3.4, 10.1.1.1, 127.0.0.1", "https", "outer.test", "443", "/outer", "/pre")
        assert forwarded(upstream) == kept
        assert sent(upstream).get("x-real-ip") == "1.2.3.4", "the last address that is not trusted"
        ask_once(trusting, "GET", "/t/x")
        assert forwarded(upstream) == ("127.0.0.1", "http", "gateway.test", str(trusting.proxy_port), "/t/x", "/t")
        ask_once(trusting, "GET", "/t/x", "X-Forwarded-For: nonsense")
        assert sent(upstream).get("x-real-ip") == "127.0.0.1"


@pytest.mark.parametrize(
    ("env", "line", "address"),
    [
        ({**TRUSTED}, "X-Real-IP: 9.9.9.9", "9.9.9.9"),
        ({**TRUSTED, "real_ip_header": "CF-Connecting-IP"}, "CF-Connecting-IP: 2001:db8::1", "2001:db8::1"),
        ({**TRUSTED, "real_ip_header": "X-Forwarded-For"}, "X-Forwarded-For: 1.2.3.4, 10.1.1.1", "10.1.1.1"),
        ({"trusted_ips": "10.0.0.0/8"}, "X-Real-IP: 9.9.9.9", "127.0.0.1"),
        ({"trusted_ips": "0.0.0.0/0,::/0"}, "X-Real-IP: 9.9.9.9", "9.9.9.9"),
    ],
    ids=["default", "other-field", "not-recursive", "not-trusted", "all"],
)
def test_the_address_of_the_client(
    make_gateway: Any, upstream: Upstream, env: dict[str, str], line: str, address: str
) -> None:
    gateway = make_gateway(env=env)
    gateway.route(upstream.url, name="it")
    ask_once(gateway, "GET", "/", line)
    assert sent(upstream).get("x-real-ip") == address
    gateway.create("/routes/it/plugins", name="ip-restriction", config={"allow": [address]})
    assert ask_once(gateway, "GET", "/", line).status == 200, "plugins see the same address"
    assert ask_once(gateway, "GET", "/").status == (200 if address == "127.0.0.1" else 403)


def test_port_maps(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(start=False)
    gateway.settings["KONG_PORT_MAPS"] = f"80:{gateway.proxy_port}"
    gateway.start()
    gateway.route(upstream.url)
    ask_once(gateway, "GET", "/")
    assert sent(upstream).get("x-forwarded-port") == "80"


def test_host_of_the_upstream_request(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    ask_once(gateway, "GET", path, host="client.test:1234")
    assert sent(upstream).get("host") == f"127.0.0.1:{upstream.port}"
    path, upstream = site(preserve_host=True)
    ask_once(gateway, "GET", path, host="Client.Test:1234")
    assert sent(upstream).get("host") == "Client.Test:1234"


@pytest.mark.parametrize(
    ("base", "strip", "request_path", "target"),
    [
        ("", True, "", "/"),
        ("", True, "/x/", "/x/"),
        ("", False, "/x", "{path}/x"),
        ("/base", True, "", "/base"),
        ("/base", True, "/", "/base/"),
        ("/base/", True, "/x?a=1&b", "/base/x?a=1&b"),
        ("/base", False, "/x", "/base{path}/x"),
        ("", True, "/%7Euser/%2f/../a//b", "/~user/a/b"),
        ("", True, "/x?", "/x?"),
        ("", True, "?a=%2F", "/?a=%2F"),
    ],
)
def test_target_of_the_upstream_request(
    gateway: Gateway, site: Any, base: str, strip: bool, request_path: str, target: str
) -> None:
    path, upstream = site(base=base, strip_path=strip)
    assert ask_once(gateway, "GET", path + request_path).status == 200
    assert sent(upstream).target == target.format(path=path)


# answers


def times(reply: Answer) -> list[str]:
    """The latency fields that the answer has."""
    return [name for name, value in reply.headers if name.endswith("-Latency") and value.isdigit()]


def test_fields_of_answers(gateway: Gateway, site: Any) -> None:
    path, upstream = site(plain(b"x"))
    reply = ask_once(gateway, "GET", path)
    assert ID.fullmatch(reply.get("x-kong-request-id") or "")
    assert reply.get("x-kong-request-id") == sent(upstream).get("x-kong-request-id")
    assert sorted(times(reply)) == ["X-Kong-Proxy-Latency", "X-Kong-Upstream-Latency"]
    assert (reply.get("via"), reply.get("server")) == ("1.1 kong/3.9.1", "kong/3.9.1")
    assert reply.get("date"), "an answer has a date"
    path, upstream = site(
        plain(
            b"x", headers=[("Server", "mine"), ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"), ("X-Kong-Request-Id", "fake")]
        )
    )
    reply = ask_once(gateway, "GET", path, "X-Kong-Request-Id: forged")
    assert reply.all("server") == ["mine"]
    assert reply.all("date") == ["Tue, 15 Nov 1994 08:12:31 GMT"]
    assert sent(upstream).all("x-kong-request-id") == reply.all("x-kong-request-id") != ["fake"]
    reply = ask_once(gateway, "GET", "/nowhere")
    assert times(reply) == ["X-Kong-Response-Latency"]
    assert (reply.all("server"), reply.get("via"), len(reply.all("date"))) == (["kong/3.9.1"], None, 1)
    assert ID.fullmatch(reply.get("x-kong-request-id") or "")


def test_latencies_tell_who_was_slow(gateway: Gateway, site: Any) -> None:
    from tests.upstream import Pause

    path, _ = site(script(Pause(0.3), answer(200, b"x")))
    reply = ask_once(gateway, "GET", path)
    assert int(reply.get("x-kong-upstream-latency") or 0) >= 250


SETTINGS: list[tuple[dict[str, str], set[str], set[str]]] = [
    ({"headers": "off"}, set(), set()),
    ({"headers": "server_tokens"}, {"server", "via"}, {"server"}),
    (
        {"headers": "latency_tokens"},
        {"x-kong-proxy-latency", "x-kong-upstream-latency"},
        {"x-kong-response-latency"},
    ),
    ({"headers": "Via, X-Kong-Upstream-Status"}, {"via", "x-kong-upstream-status"}, set()),
    ({"headers": "X-Kong-Proxy-Latency, Server"}, {"x-kong-proxy-latency", "server"}, {"server"}),
    ({"headers": "X-Kong-Request-Id", "headers_upstream": "off"}, {"x-kong-request-id"}, {"x-kong-request-id"}),
]


@pytest.mark.parametrize(("env", "proxied", "own"), SETTINGS, ids=[case[0]["headers"] for case in SETTINGS])
def test_headers_setting(
    make_gateway: Any, make_upstream: Any, env: dict[str, str], proxied: set[str], own: set[str]
) -> None:
    gateway, upstream = make_gateway(env=env), make_upstream(plain(b"x"))
    gateway.route(upstream.url, paths=["/up"])
    ours = {"server", "via"}

    def added(reply: Answer) -> set[str]:
        return {name.lower() for name, _ in reply.headers if name.lower() in ours or name.lower().startswith("x-kong-")}

    assert added(ask_once(gateway, "GET", "/up")) == proxied
    assert added(ask_once(gateway, "GET", "/nowhere")) == own
    assert (sent(upstream).get("x-kong-request-id") is None) == ("headers_upstream" in env)


def test_the_id_stays_inside_when_it_is_not_sent(make_gateway: Any, make_upstream: Any) -> None:
    """`headers = off` takes our own field from the answer, not what the upstream says."""
    gateway, upstream = make_gateway(env={"headers": "off"}), make_upstream(plain(b"x", headers=[("Via", "1.1 inner")]))
    gateway.route(upstream.url)
    reply = ask_once(gateway, "GET", "/")
    assert (reply.get("via"), reply.get("server")) == ("1.1 inner", None)


def test_trusted_proto_counts_for_redirects(trusting: Gateway) -> None:
    with Upstream() as upstream:
        trusting.route(upstream.url, paths=["/secure"], protocols=["https"], https_redirect_status_code=301)
        assert ask_once(trusting, "GET", "/secure", "X-Forwarded-Proto: https").status == 200
        reply = ask_once(trusting, "GET", "/secure", "X-Forwarded-Host: outer.test")
        assert (reply.status, reply.get("location")) == (301, "https://outer.test/secure")


def test_identity_fields_of_clients_never_pass(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    names = [
        "X-Consumer-ID",
        "X-Consumer-Username",
        "x_consumer_custom_id",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
    ]
    ask_once(
        gateway, "GET", path, *(f"{name}: root" for name in [*names, "X-Authenticated-Groups", "X-Consumer_Groups"])
    )
    assert [field for field in sent(upstream).headers if field[1] == "root"] == []


@pytest.mark.parametrize("charset", ["off", "latin1"])
def test_charset_setting(make_gateway: Any, make_upstream: Callable[..., Upstream], charset: str) -> None:
    gateway, upstream = (
        make_gateway(env={"nginx_http_charset": charset}),
        make_upstream(plain(b"x", headers=[("Content-Type", "text/plain")])),
    )
    gateway.route(upstream.url)
    wanted = "text/plain" if charset == "off" else "text/plain; charset=latin1"
    assert ask_once(gateway, "GET", "/").all("content-type") == [wanted]


def test_debug_fields(make_gateway: Any, make_upstream: Any) -> None:
    gateway, upstream = make_gateway(env={"allow_debug_header": "on"}), make_upstream()
    route = gateway.route(upstream.url, name="r", service={"name": "s"})
    reply = ask_once(gateway, "GET", "/", "Kong-Debug: 1")
    assert (reply.get("kong-route-id"), reply.get("kong-route-name")) == (route["id"], "r")
    assert (reply.get("kong-service-id"), reply.get("kong-service-name")) == (route["service"]["id"], "s")
    assert ask_once(gateway, "GET", "/").get("kong-route-id") is None


def test_the_admin_api_has_the_reasons_of_the_registry(gateway: Gateway) -> None:
    created = gateway.admin("POST", "/services", {"host": "h"})
    assert (created.status_code, created.reason) == (201, "Created")
    for path, reason in ("/services/none", "Not Found"), ("/services?size=0", "Bad Request"):
        assert gateway.admin("GET", path).reason == reason
