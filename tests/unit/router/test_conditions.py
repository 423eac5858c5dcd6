"""Each attribute of a route: what it demands of a request."""

from typing import Any

import pytest

from kong_gevent.router import Router
from tests.unit.router.reference import Request, load, make_route, uuid

CASES: dict[str, tuple[dict[str, Any], Request, bool]] = {
    "no attribute matches anything": ({}, Request("/x"), True),
    "method equal": ({"methods": ["GET", "POST"]}, Request(method=b"POST"), True),
    "method other": ({"methods": ["POST"]}, Request(method=b"GET"), False),
    "method is case-sensitive": ({"methods": ["GET"]}, Request(method=b"get"), False),
    "empty list is not set": ({"methods": [], "paths": ["/a"]}, Request("/a"), True),
    "host equal": ({"hosts": ["a.com"]}, Request(host="a.com"), True),
    "host other": ({"hosts": ["a.com"]}, Request(host="b.com"), False),
    "host of the route in capitals": ({"hosts": ["A.com"]}, Request(host="a.com"), True),
    "host any of several": ({"hosts": ["a.com", "b.com"]}, Request(host="b.com"), True),
    "host is not a suffix": ({"hosts": ["a.com"]}, Request(host="x.a.com"), False),
    "host missing": ({"hosts": ["a.com"]}, Request(host=None), False),
    "host empty": ({"hosts": ["a.com"]}, Request(host=""), False),
    "route without hosts takes a missing host": ({"paths": ["/"]}, Request(host=None), True),
    "host with absolute dot": ({"hosts": ["a.com."]}, Request(host="a.com"), True),
    "host port given": ({"hosts": ["a.com:8443"]}, Request(host="a.com", port=8443), True),
    "host port other": ({"hosts": ["a.com:8443"]}, Request(host="a.com", port=8000), False),
    "host without port takes any port": ({"hosts": ["a.com"]}, Request(host="a.com", port=1), True),
    "host one of two ports": ({"hosts": ["a.com:1", "a.com:2"]}, Request(host="a.com", port=2), True),
    "IPv6 host": ({"hosts": ["[::1]"]}, Request(host="[::1]"), True),
    "IPv6 host and port": ({"hosts": ["[::1]:90"]}, Request(host="[::1]", port=90), True),
    "IPv6 host and other port": ({"hosts": ["[::1]:90"]}, Request(host="[::1]", port=91), False),
    "left wildcard": ({"hosts": ["*.a.com"]}, Request(host="x.a.com"), True),
    "left wildcard, two labels": ({"hosts": ["*.a.com"]}, Request(host="y.x.a.com"), True),
    "left wildcard needs a label": ({"hosts": ["*.a.com"]}, Request(host="a.com"), False),
    "left wildcard keeps labels whole": ({"hosts": ["*.a.com"]}, Request(host="xa.com"), False),
    "left wildcard with port": ({"hosts": ["*.a.com:90"]}, Request(host="x.a.com", port=90), True),
    "left wildcard with other port": ({"hosts": ["*.a.com:90"]}, Request(host="x.a.com", port=91), False),
    "right wildcard": ({"hosts": ["a.*"]}, Request(host="a.com"), True),
    "right wildcard, two labels": ({"hosts": ["a.*"]}, Request(host="a.co.uk"), True),
    "right wildcard at a label in the middle": ({"hosts": ["a.b.*"]}, Request(host="a.b.c.d"), True),
    "right wildcard keeps labels whole": ({"hosts": ["a.*"]}, Request(host="ab.com"), False),
    "right wildcard with port": ({"hosts": ["a.*:90"]}, Request(host="a.com", port=90), True),
    "lone wildcard": ({"hosts": ["*"]}, Request(host="a.com"), True),
    "prefix": ({"paths": ["/p"]}, Request("/p"), True),
    "prefix is not cut at a slash": ({"paths": ["/p"]}, Request("/pq"), True),
    "prefix longer than the path": ({"paths": ["/p/q"]}, Request("/p"), False),
    "prefix is case-sensitive": ({"paths": ["/P"]}, Request("/p"), False),
    "prefix with characters that get escaped": ({"paths": ["/a{b}"]}, Request("/a%7Bb%7D/c"), True),
    "prefix with non-ASCII characters": ({"paths": ["/é"]}, Request("/%C3%A9"), True),
    "regex is anchored at the start": ({"paths": ["~/b"]}, Request("/a/b"), False),
    "regex is not anchored at the end": ({"paths": [r"~/a/\d+"]}, Request("/a/12/c"), True),
    "regex with end": ({"paths": [r"~/a/\d+$"]}, Request("/a/12/c"), False),
    "regex is case-sensitive": ({"paths": ["~/A"]}, Request("/a"), False),
    "regex with inline flag": ({"paths": ["~/(?i)A"]}, Request("/a"), True),
    "regex alternatives are anchored too": ({"paths": ["~/a|/b"]}, Request("/c/b"), False),
    "regex second alternative": ({"paths": ["~/a|/b"]}, Request("/b"), True),
    "header equal": ({"headers": {"X-A": ["one"]}}, Request(headers={"x-a": ["one"]}), True),
    "header value without regard to case": ({"headers": {"x-a": ["ONE"]}}, Request(headers={"x-a": ["one"]}), True),
    "header other value": ({"headers": {"x-a": ["one"]}}, Request(headers={"x-a": ["two"]}), False),
    "header absent": ({"headers": {"x-a": ["one"]}}, Request(), False),
    "header any value sent": ({"headers": {"x-a": ["one"]}}, Request(headers={"x-a": ["two", "one"]}), True),
    "header any value listed": ({"headers": {"x-a": ["two", "one"]}}, Request(headers={"x-a": ["one"]}), True),
    "header name with underscore": ({"headers": {"x_a": ["one"]}}, Request(headers={"x-a": ["one"]}), True),
    "every header must match": (
        {"headers": {"x-a": ["one"], "x-b": ["two"]}},
        Request(headers={"x-a": ["one"]}),
        False,
    ),
    "header regex is not anchored": ({"headers": {"x-a": ["~*n[a-e]"]}}, Request(headers={"x-a": ["one"]}), True),
    "header regex without regard to case": ({"headers": {"x-a": ["~*^ONE$"]}}, Request(headers={"x-a": ["one"]}), True),
    "header regex fails": ({"headers": {"x-a": ["~*^ne"]}}, Request(headers={"x-a": ["one"]}), False),
    "header regex beside a plain value": (
        {"headers": {"x-a": ["two", "~*^on"]}},
        Request(headers={"x-a": ["one"]}),
        True,
    ),
    "header regex keeps its classes": ({"headers": {"x-a": [r"~*^\D+$"]}}, Request(headers={"x-a": ["one"]}), True),
    "sni equal": ({"snis": ["a.com"]}, Request(sni="a.com", tls=True), True),
    "sni other": ({"snis": ["a.com"]}, Request(sni="b.com", tls=True), False),
    "sni missing on TLS": ({"snis": ["a.com"]}, Request(tls=True), False),
    "sni does not matter without TLS": ({"snis": ["a.com"]}, Request(), True),
    "sni trailing dot": ({"snis": ["a.com."]}, Request(sni="a.com", tls=True), True),
    "sni left wildcard": ({"snis": ["*.a.com"]}, Request(sni="x.a.com", tls=True), True),
    "sni left wildcard needs a label": ({"snis": ["*.a.com"]}, Request(sni="a.com", tls=True), False),
    "sni right wildcard": ({"snis": ["a.*"]}, Request(sni="a.org", tls=True), True),
    "protocols are not compared": ({"protocols": ["https"], "paths": ["/"]}, Request(), True),
    "grpc routes are loaded": ({"protocols": ["grpc"], "paths": ["/"]}, Request(), True),
    "stream routes are not": ({"protocols": ["tcp"], "snis": ["a.com"]}, Request(), False),
    "attributes are combined with and": ({"methods": ["GET"], "paths": ["/a"]}, Request("/b"), False),
}


@pytest.mark.parametrize(("fields", "request_", "expected"), CASES.values(), ids=CASES.keys())
def test_a_route_matches_when_all_its_attributes_do(fields: dict[str, Any], request_: Request, expected: bool) -> None:
    assert (load(make_route(**fields)).match(*request_.arguments) is not None) is expected


@pytest.mark.parametrize(("fields", "request_", "expected"), CASES.values(), ids=CASES.keys())
def test_candidates_agree_with_match(fields: dict[str, Any], request_: Request, expected: bool) -> None:
    assert len(load(make_route(**fields)).candidates(*request_.arguments)) == expected


def test_headers_are_not_looked_at_when_no_candidate_asks_for_them() -> None:
    router = load(make_route(1, paths=["/a"]), make_route(2, paths=["/b"], headers={"x-a": ["one"]}))

    def headers(name: str) -> list[str] | None:
        raise AssertionError(name)

    assert router.match(b"GET", "/a", "example.com", 80, headers, None, False) is not None


def test_routes_of_disabled_services_are_not_loaded() -> None:
    router = Router()
    router.add(make_route(paths=["/"]), {"id": uuid(9), "enabled": False}, "payload")
    assert len(router) == 0


def test_routes_of_enabled_services_are_loaded() -> None:
    router = Router()
    router.add(make_route(paths=["/"]), {"id": uuid(9), "enabled": True}, "payload")
    assert router.match(*Request().arguments) is not None


class TestWhatAMatchTells:
    def test_payload(self) -> None:
        router = Router()
        payload = object()
        router.add(make_route(paths=["/"]), None, payload)
        match = router.match(*Request().arguments)
        assert match is not None and match.payload is payload

    @pytest.mark.parametrize(
        ("paths", "path", "prefix"),
        [
            (None, "/x", ""),
            (["/x"], "/xy", "/x"),
            (["/x", "/xy"], "/xyz", "/xy"),
            (["/abc", "/xyz"], "/xyz/1", "/xyz"),
            ([r"~/v\d+"], "/v12/x", "/v12"),
            ([r"~/v\d", r"~/v\d+"], "/v12/x", "/v1"),
            ([r"~/[vw]\d+", r"~/v\d"], "/v12/x", "/v12"),
        ],
    )
    def test_prefix_is_what_was_matched(self, paths: list[str] | None, path: str, prefix: str) -> None:
        match = load(make_route(paths=paths, methods=["GET"])).match(*Request(path).arguments)
        assert match is not None and match.prefix == prefix

    def test_prefix_path_has_no_captures(self) -> None:
        match = load(make_route(paths=["/x"])).match(*Request("/x").arguments)
        assert match is not None and match.captures is None

    @pytest.mark.parametrize(
        ("path", "captures"),
        [
            (r"~/u/(?<id>\d+)/(\w+)", ({"id": "12"}, ["12", "ab"])),
            (r"~/u/(?P<id>\d+)", ({"id": "12"}, ["12"])),
            (r"~/u/\d+", ({}, [])),
            (r"~/u/(?<x>a)?(?<id>\d+)", ({"id": "12"}, [None, "12"])),
        ],
    )
    def test_captures(self, path: str, captures: object) -> None:
        match = load(make_route(paths=[path])).match(*Request("/u/12/ab").arguments)
        assert match is not None and match.captures == captures
