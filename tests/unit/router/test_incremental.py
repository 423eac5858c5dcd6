"""Any routes, any changes, any requests: the router answers as the rules do when every route is tried."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_gevent.router import Router, index, regexpool, traditional_compatible
from tests.unit.router.reference import Request, Route, load, make_route, uuid, winner

METHODS = ["GET", "POST", "PUT"]
HOSTS = ["a.com", "b.a.com", "b.org", "c.b.a.com"]
HOST_PATTERNS = [*HOSTS, "*.a.com", "*.com", "a.*", "b.a.*", "a.com:80", "*.a.com:81", "b.*:80", "a.com:81"]
PATHS = ["/", "/a", "/ab", "/a/", "/a/b", "/a/bc", "/b", "/a/b/c/d"]
REGEXES = ["~/a", "~/a/.*c", "~/[ab]+/b", r"~/a/(?P<x>\w)", "~/b|/a", "~/(a|b)/b$", "~/ab?", "~/.", "~/a/b/c", "~/x"]
HEADERS = {"x-a": ["1", "2", "~*^[12]$", "~*3"], "x-b": ["1", "2"], "x_c": ["A", "b"]}
SNIS = ["a.com", "*.a.com", "b.*", "b.org."]


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def some(values: list[str], size: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=size, unique=True)


HEADER_FIELDS = st.dictionaries(st.sampled_from(sorted(HEADERS)), st.none(), min_size=1, max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: some(HEADERS[name], 2) for name in names})
)
ROUTES = st.builds(
    make_route,
    st.integers(1, 12),
    methods=optional(some(METHODS, 2)),
    hosts=optional(some(HOST_PATTERNS, 2)),
    paths=optional(some(PATHS + REGEXES, 4)),
    headers=optional(HEADER_FIELDS),
    snis=optional(some(SNIS, 2)),
    regex_priority=st.integers(0, 2),
)
REQUESTS = st.builds(
    Request,
    path=st.sampled_from([*PATHS, "/a/bcd", "/ab/b", "/b/b", "/abc", "/c", "/a/b/c/d/e", "/a/x"]),
    method=st.sampled_from([b"GET", b"POST", b"HEAD"]),
    host=st.sampled_from([*HOSTS, "x.a.com", "a.org", "z", None]),
    port=st.sampled_from([80, 81, 8000]),
    headers=st.dictionaries(
        st.sampled_from(["x-a", "x-b", "x-c"]),
        st.lists(st.sampled_from(["1", "2", "13", "a", "b"]), min_size=1, max_size=2),
    ),
    sni=st.sampled_from(["a.com", "b.a.com", "b.org", None]),
    tls=st.booleans(),
)


@pytest.fixture(scope="module", autouse=True)
def small_sizes() -> object:
    """Blocks and chunks so small that a dozen routes fill several of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "BLOCK", 3)
        patch.setattr(regexpool, "FEW", 1)
        patch.setattr(traditional_compatible, "CHUNK", 3)
        patch.setattr(traditional_compatible, "LOAD_CHUNK", 4)
        yield


def answer(router: Router, request: Request) -> tuple[str, str] | None:
    match = router.match(*request.arguments)
    return None if match is None else (match.payload, match.prefix)


def with_distinct_ids(routes: list[Route]) -> list[Route]:
    return list({route["id"]: route for route in routes}.values())


@settings(max_examples=1000, deadline=None)
@given(st.lists(ROUTES, max_size=12).map(with_distinct_ids), st.lists(REQUESTS, min_size=1, max_size=6))
def test_match_is_the_first_of_all_routes_in_order(routes: list[Route], requests: list[Request]) -> None:
    router = load(*routes)
    for request in requests:
        assert answer(router, request) == winner(routes, request)


@settings(max_examples=400, deadline=None)
@given(st.lists(ROUTES | st.integers(1, 12), max_size=30), st.lists(REQUESTS, min_size=1, max_size=4))
def test_after_any_changes_the_router_is_as_if_built_anew(changes: list[Route | int], requests: list[Request]) -> None:
    router = Router()
    routes: dict[str, Route] = {}
    for change in changes:
        if isinstance(change, int):
            router.remove(uuid(change))
            routes.pop(uuid(change), None)
        else:
            router.add(change, None, change["id"])
            routes[change["id"]] = change
        for request in requests:
            assert answer(router, request) == winner(list(routes.values()), request)
    assert len(router) == len(routes)
    for route_id in routes:
        router.remove(route_id)
    assert len(router) == 0 and all(router.match(*request.arguments) is None for request in requests)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROUTES, max_size=8).map(with_distinct_ids), REQUESTS)
def test_candidates_begin_with_the_match(routes: list[Route], request: Request) -> None:
    router = load(*routes)
    candidates = router.candidates(*request.arguments)
    assert [candidate.key for candidate in candidates] == sorted((c.key for c in candidates), reverse=True)
    assert (candidates[0].payload if candidates else None) == (answer(router, request) or [None])[0]
    alone = {route["id"] for route in routes if winner([route], request) is not None}
    assert {candidate.payload for candidate in candidates} == alone


def test_adding_a_route_again_replaces_it() -> None:
    router = load(make_route(1, paths=["/a", "/abc"], hosts=["a.com"]))
    router.add(make_route(1, paths=["/b"]), None, "new")
    found = [answer(router, Request(path, host="a.com")) for path in ("/abc", "/b")]
    assert found == [None, ("new", "/b")] and len(router) == 1


def test_adding_a_route_of_a_disabled_service_takes_it_out() -> None:
    router = load(make_route(1, paths=["/a"]))
    router.add(make_route(1, paths=["/a"]), {"enabled": False}, "new")
    assert answer(router, Request("/a")) is None


def test_removing_an_unknown_route_does_nothing() -> None:
    router = load(make_route(1, paths=["/a"]))
    router.remove(uuid(2))
    assert len(router) == 1


def test_a_refused_change_leaves_the_route_as_it_was() -> None:
    router = load(make_route(1, paths=["/a"]))
    with pytest.raises(ValueError, match="invalid regex"):
        router.add(make_route(1, paths=["/b", "~/(?=x)"]), None, "new")
    assert answer(router, Request("/a")) == (uuid(1), "/a")


def test_loading_skips_and_names_what_cannot_be_served() -> None:
    router = Router()
    bad = make_route(1, paths=[r"~/(a)\1"])
    refused = router.load([(bad, None, "bad"), (make_route(2, paths=["/"]), None, "good")])
    assert [(route["id"], "invalid regex" in str(error)) for route, error in refused] == [(uuid(1), True)]
    assert answer(router, Request("/")) == ("good", "/")


def test_bad_header_regexes_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid regex"):
        Router().add(make_route(headers={"x-a": ["~*(?<!x)y"]}), None, None)


def test_many_routes_on_one_path_are_told_apart() -> None:
    by_header = [
        make_route(number, paths=["/a"], headers={"x-env": ["p"], "x-a": [str(number)]}) for number in range(500)
    ]
    by_method = [make_route(1000 + number, paths=["/a"], methods=[f"M{number}"]) for number in range(500)]
    router = load(*by_header, *by_method)
    assert answer(router, Request("/a", headers={"x-env": ["p"], "x-a": ["321"]})) == (uuid(321), "/a")
    assert answer(router, Request("/a", method=b"M321")) == (uuid(1321), "/a")
    assert answer(router, Request("/a", headers={"x-env": ["p"]})) is None


def test_what_is_left_after_a_removal_still_beats_other_hosts() -> None:
    routes = [
        make_route(1, hosts=["a.com"], paths=["/a"]),
        make_route(2, methods=["GET"], paths=["/a"], headers={"x-a": ["1"]}),
        make_route(3, methods=["GET"], paths=["/a"], headers={"x-a": ["1"], "x-b": ["1"]}),
    ]
    router = load(*routes)
    router.remove(uuid(3))
    assert answer(router, Request("/a", host="a.com", headers={"x-a": ["1"]})) == (uuid(2), "/a")


@pytest.mark.parametrize("greater", [1, 2])
def test_ties_between_wildcards_are_decided_by_id_beside_other_kinds_of_routes(greater: int) -> None:
    routes = [
        make_route(greater, hosts=["*.com"], paths=["/a"]),
        make_route(3 - greater, hosts=["a.*"], paths=["/a"]),
        make_route(5, hosts=["*.com", "a.*"], paths=["/a"], methods=["PUT"]),
    ]
    assert answer(load(*routes), Request("/a", host="a.com")) == (uuid(2), "/a")


def test_a_better_route_with_a_known_regex_is_found() -> None:
    regexes = [make_route(number, paths=[f"~/[a-z]/{number}"]) for number in range(5)]
    router = load(*regexes, make_route(20, paths=["/x"], methods=["GET"]))
    assert answer(router, Request("/x/3")) == (uuid(20), "/x")
    router.add(make_route(21, paths=["~/[a-z]/3"], methods=["GET"]), None, uuid(21))
    assert answer(router, Request("/x/3")) == (uuid(21), "/x/3")
