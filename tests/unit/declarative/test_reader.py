"""YAML and JSON texts as parts of a document: types, aliases, what is refused and where."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_gevent.declarative import InvalidDocument, read_file, read_json, read_yaml
from kong_gevent.declarative.scalars import scalar
from kong_gevent.errors import ConfigurationError


def whole(text: str | bytes) -> dict[str, Any]:
    """The document put together again."""
    found: dict[str, Any] = {}
    for item in read_yaml(text):
        if item.position is None:
            found[item.key] = item.value
        else:
            found.setdefault(item.key, []).append(item.value)
            assert len(found[item.key]) == item.position
    return found


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidDocument) as caught:
        list(read_yaml(text))
    (line,) = caught.value.lines()
    return line.removeprefix("failed parsing declarative configuration: ")


def test_lists_come_entry_by_entry() -> None:
    items = list(read_yaml("a: 1\nservices:\n- {name: x}\n- {name: y}\nroutes: []\n"))
    assert [(item.key, item.position) for item in items] == [
        ("a", None), ("services", 1), ("services", 2), ("routes", None),
    ]  # fmt: skip
    assert items[2].value == {"name": "y"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80", 80), ("0", 0), ("-5", -5), ("010", 8), ("0x10", 16), ("1_000", 1000), ("1.5", 1.5), ("1e5", "1e5"),
        ("1.0e+5", 100000.0), ("yes", True), ("off", False), ("true", True), ("~", None), ("", None), ("null", None),
        ("'80'", "80"), ('"on"', "on"), ("2020-01-01", "2020-01-01"), ("a b", "a b"), ("!!str 5", "5"), ("! 5", "5"),
        ("!!int '5'", 5), ("=", "="), ("12345678-1234-1234-1234-123456789012", "12345678-1234-1234-1234-123456789012"),
    ],
)  # fmt: skip
def test_plain_texts_have_the_types_of_yaml_1_1(text: str, value: object) -> None:
    (found,) = whole(f"a: {text}\n").values()
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_texts() -> None:
    assert whole("on: {1: a, null: b}") == {"on": {"1": "a", "null": "b"}}


def test_anchors_and_merge_keys() -> None:
    text = """
defaults: &d {retries: 3, tags: [a]}
services:
- &first {name: x, <<: *d}
- {<<: [{name: y}, *d], retries: 1}
- *first
"""
    services = whole(text)["services"]
    assert services == [
        {"name": "x", "retries": 3, "tags": ["a"]},
        {"name": "y", "retries": 1, "tags": ["a"]},
        {"name": "x", "retries": 3, "tags": ["a"]},
    ]
    services[0]["tags"].append("b")
    assert services[2]["tags"] == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected an object"),
        ("- 1", "expected an object"),
        ("just a text", "expected an object"),
        ("a: [", "malformed YAML in line 2, column 1: did not find expected node content"),
        ("a: 1\na: 2", "malformed YAML in line 2, column 1: the key 'a' is there twice"),
        ("a:\n- b: 1\n  b: 2", "malformed YAML in line 3, column 3: the key 'b' is there twice"),
        ("a: *x", "malformed YAML in line 1, column 4: the alias '*x' names nothing that came before"),
        ("a: &x [*x]", "malformed YAML in line 1, column 8: the alias '*x' names nothing that came before"),
        (
            "a: !!python/object:os.system 1",
            "malformed YAML in line 1, column 4: the tag 'tag:yaml.org,2002:python/object:os.system' is not supported",
        ),
        ("a: !mine {b: 1}", "malformed YAML in line 1, column 4: the tag '!mine' is not supported"),
        ("a: 1\n---\nb: 1", "malformed YAML in line 2, column 1: a second document begins; only one is allowed"),
        ("? [1]\n: 2", "malformed YAML in line 1, column 3: a key must be a text"),
        ("a: {<<: 5}", "malformed YAML in line 1, column 9: what is merged with '<<' must be a map, or a list of maps"),
        ("a: " + "9" * 5000, "malformed YAML in line 1, column 4: a number is too long"),
        ("a: 0x" + "f" * 5000, "malformed YAML in line 1, column 4: a number is too long"),
        ("a: " + "[" * 200 + "]" * 200, "malformed YAML in line 1, column 104: nested deeper than 100 levels"),
    ],
)
def test_refuses_with_the_place(text: str, reason: str) -> None:
    assert refusal(text) == reason


def test_text_that_is_no_unicode_is_refused() -> None:
    assert refusal(b"a: \xff\n").startswith("malformed YAML")


def test_aliases_cannot_make_a_small_text_huge() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases stand for more than 1,000,000 values" in refusal("\n".join(lines))


def test_a_list_may_come_by_an_alias() -> None:
    items = list(read_yaml("a: &l [1, 2]\nb: *l\n"))
    assert [(item.key, item.position, item.value) for item in items] == [
        ("a", 1, 1), ("a", 2, 2), ("b", 1, 1), ("b", 2, 2),
    ]  # fmt: skip


def test_json_is_read_too() -> None:
    items = list(read_json('{"_format_version": "3.0", "services": [{"name": "x"}], "routes": []}'))
    assert [(item.key, item.position, item.value) for item in items] == [
        ("_format_version", None, "3.0"), ("services", 1, {"name": "x"}), ("routes", None, []),
    ]  # fmt: skip
    for text in ("{", "[]", "5", '{"a": NaN}'):
        with pytest.raises(InvalidDocument):
            list(read_json(text))


def test_files_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for name in ("a.yml", "a.yaml", "a.YML", "a.json"):
        (tmp_path / name).write_text('{"a": 1}')
        assert [item.value for item in read_file(tmp_path / name)] == [1]
    for name, reason in (("a.txt", "its name must end in .yml, .yaml, .json"), ("b.yml", "no such file")):
        with pytest.raises(ConfigurationError, match=reason):
            list(read_file(tmp_path / name))
    (tmp_path / "c.yml").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        list(read_file(tmp_path / "c.yml"))


def test_a_large_list_needs_little_memory() -> None:
    text = "_format_version: '3.0'\nconsumers:\n" + "".join(
        f"- username: user-{number}\n  tags: [a, b]\n" for number in range(20_000)
    )
    stream = io.BytesIO(text.encode())
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_yaml(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_001
    assert peak < 2_000_000


VALUES = [
    "", " ", " a", "a ", "on", "Yes", "1", "1.5", "0x1", "1_0", "12:30", "a: b", "a #b", "#x", "~", "null", "None",
    "-", "- x", "? x", "{x", "[x", "&x", "*x", "!x", "|", ">", "%x", "@x", "`x", "'", '"', "\\", "a\nb", "a\tb",
    "\x00", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\u2029", "\ufeff", "\uffff", "é", "😀", "<<", "=", "2020-01-01",
    "/x", "~/x", "a/b.c_d@e-f", "12345678-1234-1234-1234-123456789012", "1e100000-1234-1234-1234-123456789012",
    "a" * 500, None, True, False, 0, -3, 2**60, 0.1, 1e22, 1.5e-7, 1e16, -2.5,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_reads_the_same_everywhere(value: object) -> None:
    text = f"- {scalar(value)}\n- {{a: {scalar(value)}, b: 1}}\n"
    for found in (whole(f"x:\n{text}")["x"], yaml.safe_load(text)):
        assert found == [value, {"a": value, "b": 1}]
        assert type(found[0]) is type(value)
