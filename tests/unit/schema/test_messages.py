"""Error trees on the wire and as one line."""

from typing import Any

import pytest

from kong_gevent.schema import violation
from kong_gevent.schema.messages import dump, wire

CASES: list[tuple[dict[Any, Any], str]] = [
    ({"a": "x"}, "schema violation (a: x)"),
    ({"b": "y", "a": "x"}, "2 schema violations (a: x; b: y)"),
    ({"a": "x", "@entity": ["e1", "e2"]}, "3 schema violations (e1; e2; a: x)"),
    ({"paths": {1: "x", 10: "z", 2: "y"}}, "3 schema violations (paths.1: x; paths.2: y; paths.10: z)"),
    ({"config": {"redis": {"port": "p"}}}, 'schema violation (config.redis: {\n  port = "p"\n})'),
    ({"config": {"l": {2: "p", 3: "q"}}}, 'schema violation (config.l: {\n  [2] = "p",\n  [3] = "q"\n})'),
    ({"config": "whole"}, "schema violation (config: whole)"),
]


@pytest.mark.parametrize(("tree", "message"), CASES, ids=lambda value: str(value)[:30])
def test_the_message_names_every_error(tree: dict[Any, Any], message: str) -> None:
    assert violation(tree).message == message


@pytest.mark.parametrize(
    ("tree", "shown"),
    [
        ({1: "a", 2: "b"}, ["a", "b"]),
        ({3: "c"}, [None, None, "c"]),
        ({2: {"x": "c"}}, [None, {"x": "c"}]),
        ({50: "c"}, {"50": "c"}),
        ({"a": {1: "b"}}, {"a": ["b"]}),
        ({"@entity": ["e"]}, {"@entity": ["e"]}),
    ],
)
def test_positions_become_arrays_with_holes(tree: dict[Any, Any], shown: Any) -> None:
    assert wire(tree) == shown


def test_the_body_of_a_violation() -> None:
    assert violation({"tags": {1: "t"}}).to_dict() == {
        "code": 2,
        "name": "schema violation",
        "message": "schema violation (tags.1: t)",
        "fields": {"tags": ["t"]},
    }


def test_values_are_dumped_as_lua_tables() -> None:
    assert dump({"a-b": 'q"', "c": ["x", {}]}) == '{\n  ["a-b"] = "q\\"",\n  c = {\n    "x",\n    {}\n  }\n}'
