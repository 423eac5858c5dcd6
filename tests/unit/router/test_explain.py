"""The router's explanation: the same winner as the router's for any routes and requests, and the right reasons."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_gevent.router import Router
from kong_gevent.router.explain import Asked, Verdict, decision, nearest
from tests.unit.router.reference import Request, Route, load, make_route, uuid
from tests.unit.router.test_incremental import REQUESTS, ROUTES, with_distinct_ids


def verdicts(router: Router, request: Request, count: int = 100) -> list[Verdict]:
    return nearest(router.placements(), Asked(*request.arguments), count, lambda: None)


@settings(max_examples=1000, deadline=None)
@given(st.lists(ROUTES, max_size=12).map(with_distinct_ids), st.lists(REQUESTS, min_size=1, max_size=6))
def test_the_first_verdict_is_the_routers_match(routes: list[Route], requests: list[Request]) -> None:
    router = load(*routes)
    for request in requests:
        match = router.match(*request.arguments)
        found = verdicts(router, request)
        assert len(found) == len(router)
        if match is None:
            assert all(verdict.failing for verdict in found)
        else:
            assert not found[0].failing
            assert (found[0].entry.key, found[0].entry.payload) == (match.key, match.payload)
        matching = {entry.payload for entry in router.candidates(*request.arguments)}
        assert {verdict.entry.payload for verdict in found if not verdict.failing} == matching


FAILING: dict[str, tuple[dict[str, Any], Request, tuple[str, ...]]] = {
    "none": ({"paths": ["/a"]}, Request("/a"), ()),
    "path": ({"paths": ["/a"], "methods": ["GET"]}, Request("/b"), ("paths",)),
    "regex": ({"paths": [r"~/a/\d+"]}, Request("/a/x"), ("paths",)),
    "method": ({"paths": ["/a"], "methods": ["PUT"]}, Request("/a"), ("methods",)),
    "host": ({"hosts": ["*.a.com"]}, Request(host="a.com"), ("hosts",)),
    "port of the host": ({"hosts": ["a.com:81"]}, Request(host="a.com", port=80), ("hosts",)),
    "header": ({"headers": {"x-a": ["1"]}}, Request(headers={"x-a": ["2"]}), ("headers",)),
    "server name": ({"snis": ["a.com"]}, Request(sni="b.com", tls=True), ("snis",)),
    "server name does not count in clear text": ({"snis": ["a.com"]}, Request(sni=None), ()),
    "all, in the router's order": (
        {"snis": ["a.com"], "headers": {"x": ["1"]}, "methods": ["PUT"], "hosts": ["z"], "paths": ["/z"]},
        Request("/", tls=True),
        ("hosts", "paths", "methods", "headers", "snis"),
    ),
}


@pytest.mark.parametrize(("fields", "request_", "expected"), FAILING.values(), ids=FAILING.keys())
def test_attributes_that_do_not_match(fields: dict[str, Any], request_: Request, expected: tuple[str, ...]) -> None:
    assert [verdict.failing for verdict in verdicts(load(make_route(**fields)), request_)] == [expected]


def test_the_best_of_several_hosts_and_paths_counts() -> None:
    router = load(make_route(hosts=["a.com", "b.com"], paths=["/a", "/b"], methods=["PUT"]))
    assert [verdict.failing for verdict in verdicts(router, Request("/b", host="b.com"))] == [("methods",)]


def test_nearer_routes_come_first() -> None:
    router = load(
        make_route(1, paths=["/orders"], methods=["PUT"]),
        make_route(2, paths=["/other"], methods=["PUT"]),
        make_route(3, paths=["/orders"], methods=["GET"]),
        make_route(4, paths=["/ordinary"], methods=["GET"]),
        make_route(5, paths=["/x"], methods=["GET"]),
    )
    order = [verdict.entry.payload for verdict in verdicts(router, Request("/orders/1"))]
    assert order == [uuid(3), uuid(1), uuid(4), uuid(5), uuid(2)]
    assert [verdict.entry.payload for verdict in verdicts(router, Request("/orders/1"), 2)] == [uuid(3), uuid(1)]


DECISIONS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, int | str, int | str]]] = {
    "attributes": ({"paths": ["/"], "methods": ["GET"]}, {"paths": ["/a"]}, ("attributes", 2, 1)),
    "plain hosts": ({"hosts": ["example.com"]}, {"hosts": ["*.com"]}, ("plain_hosts", 1, 0)),
    "headers": ({"headers": {"x": ["1"], "y": ["1"]}}, {"headers": {"x": ["1"]}}, ("headers", 2, 1)),
    "regex path": ({"paths": ["~/a"]}, {"paths": ["/a/b"]}, ("regex_path", 1, 0)),
    "regex_priority": (
        {"paths": ["~/a"], "regex_priority": 3},
        {"paths": ["~/a/b"], "regex_priority": 2},
        ("regex_priority", 3, 2),
    ),
    "length of the prefix": ({"paths": ["/a/b"]}, {"paths": ["/a"]}, ("path_length", 4, 2)),
    "id": ({"paths": ["/a/b"]}, {"paths": ["/a/b"]}, ("id", uuid(2), uuid(1))),
}


@pytest.mark.parametrize(("winner", "loser", "expected"), DECISIONS.values(), ids=DECISIONS.keys())
def test_what_decides(winner: dict[str, Any], loser: dict[str, Any], expected: tuple[Any, ...]) -> None:
    router = load(make_route(2, **winner), make_route(1, **loser))
    request = Request("/a/b", headers={"x": ["1"], "y": ["1"]})
    first, second = verdicts(router, request)
    assert (first.entry.payload, second.entry.payload) == (uuid(2), uuid(1))
    assert decision(first.entry.key, second.entry.key) == expected
