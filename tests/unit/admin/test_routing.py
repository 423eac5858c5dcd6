"""Paths are matched by decoded segments, literals first."""

import pytest
from werkzeug.exceptions import BadRequest
from werkzeug.routing import Rule

from kong_gevent.admin.routing import PathTree, listing, raw_path, split

RULES = [
    "/",
    "/a",
    "/a/<a>",
    "/a/<a>/all",
    "/a/enabled",
    "/a/<a>/b/<b>",
    "/schemas/<name>",
    "/schemas/<entity>/validate",
    "/schemas/plugins/<plugin>",
    "/schemas/plugins/validate",
]
FOUND = {
    "/": ("/", {}),
    "": ("/", {}),
    "/a": ("/a", {}),
    "/a/": ("/a", {}),
    "/a/x": ("/a/<a>", {"a": "x"}),
    "/a/x/": ("/a/<a>", {"a": "x"}),
    "/a/enabled": ("/a/enabled", {}),
    "/a/enabled/all": ("/a/<a>/all", {"a": "enabled"}),
    "/a/x%2Fy": ("/a/<a>", {"a": "x/y"}),
    "/a/%C3%A9t%C3%A9": ("/a/<a>", {"a": "été"}),
    "/a/Ã©": ("/a/<a>", {"a": "é"}),
    "/a/%2A.foo.test": ("/a/<a>", {"a": "*.foo.test"}),
    "/a/a%20b+c": ("/a/<a>", {"a": "a b+c"}),
    "/%61/x": ("/a/<a>", {"a": "x"}),
    "/schemas/plugins": ("/schemas/<name>", {"name": "plugins"}),
    "/schemas/plugins/validate": ("/schemas/plugins/validate", {}),
    "/schemas/plugins/key-auth": ("/schemas/plugins/<plugin>", {"plugin": "key-auth"}),
    "/schemas/x/validate": ("/schemas/<entity>/validate", {"entity": "x"}),
    "/default/a": ("/a", {}),
    "/default": ("/", {}),
    "/default/": ("/", {}),
    "//": ("/", {}),
    "/a//": None,
    "/a//b/x": None,
    "/nope": None,
    "/a/x/nope": None,
    "/A": None,
    "/default/kong": None,
    "/other/a": None,
    "/a/../a": None,
}


@pytest.mark.parametrize(("path", "expected"), FOUND.items(), ids=FOUND)
def test_look_up(path, expected):
    found = PathTree([Rule(path) for path in RULES]).find(split(path))
    assert (found and (found[0].rule, found[1])) == expected


@pytest.mark.parametrize("path", ["/a/%ff", "/a/%C3", "/a/%00", "/a/x%00y"])
def test_undecodable_segments_are_refused(path):
    with pytest.raises(BadRequest):
        split(path)


def test_one_path_has_one_rule():
    with pytest.raises(ValueError, match="two rules"):
        PathTree([Rule("/a/<b>"), Rule("/a/<c>")])


def test_listing_is_ordered_by_segments():
    rules = [Rule(path) for path in ("/ab", "/a/z", "/a/<b>", "/a", "/")]
    assert listing(rules) == ["/", "/a", "/a/z", "/a/{b}", "/ab"]


TARGETS = {
    "origin form": ({"RAW_URI": "/a%2Fb?c=%2F"}, "/a%2Fb"),
    "absolute form": ({"RAW_URI": "http://h:1/a?b"}, "/a"),
    "absolute form without path": ({"RAW_URI": "http://h"}, "/"),
    "decoded path only": ({"PATH_INFO": "/a%b"}, "/a%25b"),
    "mounted below a path": ({"RAW_URI": "/x/a", "SCRIPT_NAME": "/x", "PATH_INFO": "/a"}, "/a"),
    "fragment": ({"RAW_URI": "/a#b"}, "/a"),
}


@pytest.mark.parametrize(("environ", "path"), TARGETS.values(), ids=TARGETS)
def test_raw_path(environ, path):
    assert raw_path(environ) == path
