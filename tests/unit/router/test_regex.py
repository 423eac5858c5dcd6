"""Regular expressions of routes: what is accepted, what is refused, and that none can hang a worker."""

from typing import Any

import pytest
import re2

from kong_gevent.router.regex import PathRegex, RegexSet, compile_header_regex, compile_path_regex
from tests.unit.router.reference import Request, load, make_route, uuid


@pytest.mark.parametrize("pattern", [r"/(a+)+$", r"/(a|aa)+$", r"/(.*a){20}$", r"/(\w+\s?)*$", r"/((a*)*)*b"])
def test_catastrophic_patterns_end(pattern: str) -> None:
    match = load(make_route(paths=["~" + pattern])).match(*Request("/" + "a" * 8000 + "!").arguments)
    assert match is None or match.prefix.startswith("/")


def test_catastrophic_header_patterns_end() -> None:
    router = load(make_route(headers={"x-a": ["~*^(a+)+$"]}))
    assert router.match(*Request(headers={"x-a": ["a" * 8000 + "!"]}).arguments) is None


@pytest.mark.parametrize(
    "pattern", [r"/(a)\1", "/(?=a)", "/(?!a)", "/(?<=a)b", "/a++", "/(?>a)", "/(", "/[a", "/a{2000}", "/*?+", "/\ud800"]
)
def test_what_re2_cannot_compile_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"invalid regex: .* \(.+\)"):
        compile_path_regex(pattern)


@pytest.mark.parametrize("pattern", ["~/a", "/a"])
def test_the_mark_of_regex_paths_may_be_given(pattern: str) -> None:
    assert compile_path_regex(pattern).end(b"/ab") == 2


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"/users/(?<id>\d+)$", "/users/"),
        ("/abc", "/abc"),
        ("/abc$", "/abc"),
        ("/ab?c", "/a"),
        ("/ab*", "/a"),
        ("/ab+c", "/ab"),
        (r"/a\.b", "/a.b"),
        ("/a|/b", "/"),
        ("/a$|/ab", "/a"),
        ("(/a|/ab)c", "/a"),
        ("(?i)/ab", "/"),
        ("/a(?i)b", "/a"),
        ("/.*", "/"),
        (".*", ""),
        ("", ""),
        (r"/\Qa.b\E", "/a.b"),
        ("/[x]y", "/xy"),
        ("/é", "/"),
    ],
)
def test_literal_prefix_is_never_longer_than_what_all_matches_share(pattern: str, literal: str) -> None:
    assert literal.startswith(PathRegex(pattern).literal)


@pytest.mark.parametrize(
    ("pattern", "literal"), [(r"/users/(?<id>\d+)$", "/users/"), ("/abc$", "/abc"), ("/a|/b", "/")]
)
def test_literal_prefix_is_found_in_usual_patterns(pattern: str, literal: str) -> None:
    assert PathRegex(pattern).literal == literal


def test_captures_without_a_match_are_empty() -> None:
    assert PathRegex("/(a)").captures(b"/b") == ({}, [])


def test_header_regex_ignores_case_and_position() -> None:
    assert compile_header_regex("B+")("abba")


class TestSets:
    def test_all_matching_patterns_are_named(self) -> None:
        assert sorted(RegexSet(["/a", "/ab", "/b"]).matches(b"/abc") or []) == [0, 1]

    def test_none_matching_is_not_giving_up(self) -> None:
        assert RegexSet(["/a", "/b"]).matches(b"/c") == []

    def test_giving_up_is_told_from_none_matching(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(re2.Set, "Match", lambda self, text: None)
        assert RegexSet(["/a"]).matches(b"/a") is None

    def test_each_regex_is_tried_when_a_set_gives_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(re2.Set, "Match", lambda self, text: [])
        routes = [make_route(number, paths=[f"~/[a-z]/{number}$"]) for number in range(20)]
        match = load(*routes).match(*Request("/x/7").arguments)
        assert match is not None and match.payload == uuid(7)

    def test_regexes_that_do_not_fit_one_set_are_spread(self) -> None:
        heavy = [make_route(number, paths=[rf"~/[a-z]+/(\d{{1,200}}x){{1,4}}/{number}$"]) for number in range(60)]
        with pytest.raises(ValueError, match="do not fit"):
            RegexSet([route["paths"][0][1:] for route in heavy] * 60)
        match = load(*heavy).match(*Request("/q/12x3x/41").arguments)
        assert match is not None and match.payload == uuid(41)

    def test_chunks_are_halved_until_they_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Picky(RegexSet):
            def __init__(self, patterns: list[str]) -> None:
                if len(patterns) > 10:
                    raise ValueError("too many")
                super().__init__(patterns)

        monkeypatch.setattr("kong_gevent.router.regexpool.RegexSet", Picky)
        router = load(*(make_route(number, paths=[f"~/[a-z]/{number}$"]) for number in range(100)))
        found = [router.match(*Request(f"/x/{number}").arguments) for number in range(100)]
        assert [match and match.payload for match in found] == [uuid(number) for number in range(100)]

    def test_removed_regexes_are_gone_and_new_ones_are_there(self) -> None:
        router = load(*(make_route(number, paths=[f"~/[a-z]/{number}$"]) for number in range(20)))
        router.remove(uuid(7))
        router.add(make_route(30, paths=["~/[a-z]/30$"]), None, uuid(30))
        found = [router.match(*Request(f"/x/{number}").arguments) for number in (7, 8, 30)]
        assert [match and match.payload for match in found] == [None, uuid(8), uuid(30)]


class WithoutInner:
    """A compiled regex of a release of re2 that keeps the extension's object elsewhere."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._compiled, name)


def test_a_release_of_re2_without_the_inner_method_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = PathRegex(r"/(?<x>\w)(y)?")
    compiled = re2.compile
    monkeypatch.setattr(re2, "compile", lambda *arguments, **options: WithoutInner(compiled(*arguments, **options)))
    layered = PathRegex(r"/(?<x>\w)(y)?")
    for path in (b"/a", b"/ay", b"b"):
        assert (layered.end(path), layered.captures(path)) == (direct.end(path), direct.captures(path))
