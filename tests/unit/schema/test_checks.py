"""Entity checks: texts, places of the errors, when a check is left out."""

from typing import Any

import pytest

from kong_gevent.schema import Record, checks, fields


def run(check: checks.Check, data: dict[str, Any], updating: bool = False) -> dict[str, Any]:
    """The error tree of a record with fields a, b, c (strings), n (number), l (array) and one check."""
    members = {name: fields.String(len_min=0, referenceable=True) for name in "abc"}
    schema: Record = type(
        "Checked",
        (Record,),
        {**members, "n": fields.Integer(), "l": fields.Array(fields.String()), "checks": [check]},
    )()
    return schema.run(data, updating=updating)[1]


CASES: list[tuple[checks.Check, dict[str, Any], Any]] = [
    (checks.AtLeastOneOf("a", "b"), {}, ["at least one of these fields must be non-empty: 'a', 'b'"]),
    (checks.AtLeastOneOf("a", "b"), {"a": "", "b": None}, ["at least one of these fields must be non-empty: 'a', 'b'"]),
    (checks.AtLeastOneOf("a", "l"), {"l": []}, ["at least one of these fields must be non-empty: 'a', 'l'"]),
    (checks.AtLeastOneOf("a", "b"), {"b": "x"}, None),
    (checks.OnlyOneOf("a", "b"), {}, ["exactly one of these fields must be non-empty: 'a', 'b'"]),
    (checks.OnlyOneOf("a", "b"), {"a": "1", "b": "2"}, ["exactly one of these fields must be non-empty: 'a', 'b'"]),
    (checks.OnlyOneOf("a", "b"), {"a": "1"}, None),
    (checks.MutuallyExclusive("a", "b"), {"a": "1", "b": "2"},
     ["only one or none of these fields must be set: 'a', 'b'"]),
    (checks.MutuallyExclusive("a", "b"), {}, None),
    (checks.MutuallyRequired("a", "b"), {"a": "1"}, ["all or none of these fields must be set: 'a', 'b'"]),
    (checks.MutuallyRequired("a", "b"), {"a": "1", "b": "2"}, None),
    (checks.Distinct("a", "b"), {"a": "1", "b": "1"}, ["values of these fields must be distinct: 'a', 'b'"]),
    (checks.Distinct("a", "b"), {}, None),
    (checks.MutuallyExclusiveSets(["a"], ["b", "c"]), {"a": "1", "c": "1"},
     ["these sets are mutually exclusive: ('a'), ('c')"]),
    (checks.Custom("a", function=lambda data: "no"), {"a": "1"}, ["no"]),
    (checks.Custom("a", function=lambda data: "no"), {}, None),
    (checks.Custom("a", function=lambda data: "no", run_with_missing_fields=True), {}, ["no"]),
]  # fmt: skip


@pytest.mark.parametrize(("check", "data", "texts"), CASES, ids=lambda value: repr(value)[:40])
def test_checks_report_on_the_entity(check: checks.Check, data: dict[str, Any], texts: list[str] | None) -> None:
    assert run(check, data).get("@entity") == texts


def test_a_conditional_reports_twice() -> None:
    check = checks.Conditional("a", {"eq": "x"}, "b", {"required": True})
    assert run(check, {"a": "x"}) == {
        "b": "required field missing",
        "@entity": ["failed conditional validation given value of field 'a'"],
    }
    assert run(check, {"a": "y"}) == {}
    assert run(check, {"b": None}) == {}
    assert run(check, {"a": "x", "b": "z"}) == {}


@pytest.mark.parametrize(
    ("match", "value", "text"),
    [
        ({"eq": None}, "x", "value must be null"),
        ({"eq": "y"}, "x", "value must be y"),
        ({"eq": "y"}, None, "value must be y"),
        ({"one_of": ["p", "q"]}, "x", "expected one of: p, q"),
        ({"one_of": ["p", "q"]}, None, None),
        ({"ne": "x"}, "x", "value must not be x"),
        ({"match": "^%d+$", "err": "digits"}, "x", "digits"),
    ],
)
def test_a_conditional_takes_any_rule(match: dict[str, Any], value: Any, text: str | None) -> None:
    assert run(checks.Conditional("a", {"ne": "z"}, "b", match), {"a": "x", "b": value}).get("b") == text


def test_a_conditional_may_have_its_own_text() -> None:
    check = checks.Conditional("a", {"one_of": ["x"]}, "n", {"gt": 5}, "a needs more")
    assert run(check, {"a": "x", "n": 5}) == {"n": "value must be greater than 5", "@entity": ["a needs more"]}


def test_conditional_lists_have_an_alternative() -> None:
    check = checks.ConditionalAtLeastOneOf(
        "a", {"eq": "x"}, ["b"], "set %s", else_match={"eq": "y"}, else_then_at_least_one_of=["b", "c"]
    )
    assert run(check, {"a": "x"}) == {"@entity": ["set 'b'"]}
    assert run(check, {"a": "y"}) == {"@entity": ["at least one of these fields must be non-empty: 'b', 'c'"]}
    assert run(check, {"a": "z"}) == {}
    assert run(check, {"a": "y", "c": "1"}) == {}


def test_a_custom_check_may_name_fields() -> None:
    check = checks.Custom("a", function=lambda data: {"b.c": "nested", "@entity": "also"})
    assert run(check, {"a": "1"}) == {"b": {"c": "nested"}, "@entity": ["also"]}


def test_updates_say_so_in_one_text() -> None:
    text = "when updating, at least one of these fields must be non-empty: 'a', 'b'"
    assert run(checks.AtLeastOneOf("a", "b"), {}, updating=True) == {"@entity": [text]}
    assert not run(checks.OnlyOneOf("a", "b"), {}, updating=True)["@entity"][0].startswith("when")


def test_a_check_of_a_wrong_field_is_left_out() -> None:
    assert run(checks.AtLeastOneOf("a", "n"), {"n": "x"}) == {"n": "expected an integer"}


def test_a_check_of_a_vault_reference_is_left_out() -> None:
    assert run(checks.MutuallyRequired("a", "b"), {"a": "{vault://env/x}"}) == {}
    assert run(checks.MutuallyRequired("a", "b"), {"a": "x"}) != {}
