"""Which of several matching routes serves a request."""

from typing import Any

import pytest

from kong_gevent.router.subroutes import priority, subroute_id
from tests.unit.router.reference import Request, load, make_route, uuid

REQUEST = Request(
    "/abc/def",
    host="a.example.com",
    headers={"x-a": ["1"], "x-b": ["2"]},
    sni="a.example.com",
    tls=True,
)

BETTER_FIRST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "more kinds beat a longer path": ({"paths": ["/"], "methods": ["GET"]}, {"paths": ["/abc/def"]}),
    "more kinds beat plain hosts": ({"methods": ["GET"], "paths": ["/"]}, {"hosts": ["a.example.com"]}),
    "more kinds beat more headers": (
        {"headers": {"x-a": ["1"]}, "paths": ["/"]},
        {"headers": {"x-a": ["1"], "x-b": ["2"]}},
    ),
    "more kinds beat regexes": ({"methods": ["GET"], "paths": ["/"]}, {"paths": ["~/abc/def"]}),
    "snis are a kind": ({"snis": ["a.example.com"], "paths": ["/"]}, {"paths": ["/abc"]}),
    "plain hosts beat wildcards": (
        {"hosts": ["a.example.com"], "paths": ["/"]},
        {"hosts": ["*.example.com"], "paths": ["/abc"]},
    ),
    "one wildcard makes all hosts of a route wildcards": (
        {"hosts": ["a.example.com"], "paths": ["/"]},
        {"hosts": ["a.example.com", "*.example.org"], "paths": ["/abc"]},
    ),
    "a plain host with port is plain": (
        {"hosts": ["a.example.com:8000"], "paths": ["/"]},
        {"hosts": ["a.*"], "paths": ["/abc"]},
    ),
    "plain hosts beat as many other kinds": ({"hosts": ["a.example.com"]}, {"headers": {"x-a": ["1"], "x-b": ["2"]}}),
    "more headers win": (
        {"headers": {"x-a": ["1"], "x-b": ["2"]}, "paths": ["/"]},
        {"headers": {"x-a": ["1"]}, "paths": ["/abc"]},
    ),
    "more headers beat regexes": (
        {"headers": {"x-a": ["1"], "x-b": ["2"]}, "paths": ["/"]},
        {"headers": {"x-a": ["1"]}, "paths": ["~/abc"]},
    ),
    "regexes beat prefixes": ({"paths": ["~/a"]}, {"paths": ["/abc/def"]}),
    "greater regex_priority wins": (
        {"paths": ["~/a"], "regex_priority": 5},
        {"paths": ["~/abc/def"], "regex_priority": 4},
    ),
    "regex_priority of prefixes does not count": (
        {"paths": ["/abc"], "regex_priority": 0},
        {"paths": ["/ab"], "regex_priority": 9},
    ),
    "negative regex_priority counts as zero": (
        {"paths": ["~/a"], "regex_priority": 1},
        {"paths": ["~/ab"], "regex_priority": -1},
    ),
    "a regex of negative priority still beats prefixes": (
        {"paths": ["~/a"], "regex_priority": -1},
        {"paths": ["/abc/def"]},
    ),
    "longer prefix wins": ({"paths": ["/abc"]}, {"paths": ["/ab"]}),
    "sub-routes have their own length": ({"paths": ["/abc", "/x"]}, {"paths": ["/ab", "/a/very/long/path"]}),
    "any path beats none": ({"paths": ["/"], "methods": ["GET"]}, {"methods": ["GET"]}),
    "hosts beat methods alone": ({"hosts": ["a.example.com"]}, {"methods": ["GET"]}),
    "sources count as a kind": ({"paths": ["/"], "sources": [{"port": 1}]}, {"paths": ["/abc"]}),
}


@pytest.mark.parametrize(("better", "worse"), BETTER_FIRST.values(), ids=BETTER_FIRST.keys())
@pytest.mark.parametrize("order", ["better has the greater id", "worse has the greater id"])
def test_the_better_route_wins_whatever_the_ids(better: dict[str, Any], worse: dict[str, Any], order: str) -> None:
    ids = (2, 1) if order.startswith("better") else (1, 2)
    first, second = make_route(ids[0], **better), make_route(ids[1], **worse)
    match = load(second, first).match(*REQUEST.arguments)
    assert match is not None and match.payload == first["id"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"paths": ["/abc"]}, {"paths": ["/abc"]}),
        ({"paths": ["~/a.c"]}, {"paths": ["~/ab."]}),
        ({"methods": ["GET"]}, {"methods": ["GET", "POST"]}),
        ({"headers": {"x-a": ["1"]}}, {"headers": {"x-b": ["2"]}}),
        ({"hosts": ["*.example.com"]}, {"hosts": ["a.*"]}),
        ({"paths": ["/ab"], "methods": ["GET"]}, {"paths": ["/ab"], "snis": ["*.example.com"]}),
    ],
)
@pytest.mark.parametrize("greater", [0, 1])
def test_ties_go_to_the_greater_uuid(one: dict[str, Any], other: dict[str, Any], greater: int) -> None:
    routes = [make_route(1 + (greater == 0), **one), make_route(1 + (greater == 1), **other)]
    match = load(*routes).match(*REQUEST.arguments)
    assert match is not None and match.payload == uuid(2)


def test_ties_of_sub_routes_go_to_the_greater_name_based_uuid() -> None:
    split = [make_route(number, paths=["/abc", "/x"]) for number in (1, 2, 3, 4)]
    match = load(*split).match(*REQUEST.arguments)
    assert match is not None
    assert match.payload == max((route["id"] for route in split), key=lambda route_id: subroute_id(route_id, 4))


def test_a_route_with_one_path_length_keeps_its_own_id() -> None:
    match = load(make_route(7, paths=["/abc", "/abd"])).match(*REQUEST.arguments)
    assert match is not None and match.key[1] == uuid(7)


def test_all_regexes_of_a_route_are_one_sub_route() -> None:
    match = load(make_route(7, paths=["~/abcd", "~/a", "/x"])).match(*REQUEST.arguments)
    assert match is not None and match.key[1] == subroute_id(uuid(7), -1)


def test_a_route_may_win_by_one_path_and_lose_by_another() -> None:
    router = load(make_route(1, paths=["/a", "/b/longer"]), make_route(2, paths=["/ab", "/b"]))
    found = [router.match(*Request(path).arguments) for path in ("/abc", "/b/longer/x")]
    assert [match and match.payload for match in found] == [uuid(2), uuid(1)]


@pytest.mark.parametrize(
    ("fields", "length", "regex", "expected"),
    [
        ({}, 0, False, 0),
        ({"paths": ["/abc"]}, 4, False, 1 << 61 | 4),
        ({"paths": ["/abc"]}, 1 << 20, False, 1 << 61 | 0x7FFFF),
        ({"hosts": ["a"]}, 0, False, 1 << 61 | 1 << 60),
        ({"hosts": ["*.a"]}, 0, False, 1 << 61),
        ({"headers": {"a": ["1"], "b": ["1"]}}, 0, False, 1 << 61 | 2 << 52),
        ({"headers": {f"h{number}": ["1"] for number in range(300)}}, 0, False, 1 << 61 | 255 << 52),
        ({"paths": ["~/a"], "regex_priority": 3}, 0, True, 1 << 61 | 1 << 51 | 3 << 19),
        ({"paths": ["~/a"], "regex_priority": 1 << 40}, 0, True, 1 << 61 | 1 << 51 | 0xFFFFFFFF << 19),
        (
            {"methods": ["GET"], "hosts": ["a"], "headers": {"a": ["1"]}, "snis": ["a"], "paths": ["/"]},
            1,
            False,
            5 << 61 | 1 << 60 | 1 << 52 | 1,
        ),
    ],
)
def test_priority_bits(fields: dict[str, Any], length: int, regex: bool, expected: int) -> None:
    assert priority(make_route(**fields), length, regex) == expected
