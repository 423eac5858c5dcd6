"""What each type and each named field accepts, and the text for what it does not."""

import json
from typing import Any

import pytest

from kong_gevent.schema import Record, fields


def outcome(field: fields.Field, value: Any) -> tuple[Any, Any]:
    """The stored value and the error of a one-field record."""
    schema: Record = type("One", (Record,), {"x": field})()
    result, errors = schema.run({"x": value})
    return result.get("x"), errors.get("x")


def error(field: fields.Field, value: Any) -> Any:
    return outcome(field, value)[1]


TYPES: list[tuple[fields.Field, Any, str]] = [
    (fields.String(), 5, "expected a string"),
    (fields.String(), True, "expected a string"),
    (fields.String(), [], "expected a string"),
    (fields.Number(), "5", "expected a number"),
    (fields.Number(), True, "expected a number"),
    (fields.Number(), float("inf"), "expected a number"),
    (fields.Number(), float("nan"), "expected a number"),
    (fields.Integer(), 5.5, "expected an integer"),
    (fields.Integer(), "5", "expected an integer"),
    (fields.Integer(), float("-inf"), "expected an integer"),
    (fields.Integer(), 2**53 + 1, "expected an integer"),
    (fields.Boolean(), "true", "expected a boolean"),
    (fields.Boolean(), 1, "expected a boolean"),
    (fields.Array(fields.String()), "a", "expected an array"),
    (fields.Array(fields.String()), {"a": 1}, "expected an array"),
    (fields.Set(fields.String()), 5, "expected a set"),
    (fields.Map(), ["a"], "expected a map"),
    (fields.Record({"a": fields.String()}), "a", "expected a record"),
    (fields.Foreign("services"), "a", "expected a record"),
]


@pytest.mark.parametrize(("field", "value", "text"), TYPES, ids=lambda value: repr(value)[:40])
def test_types_are_not_converted(field: fields.Field, value: Any, text: str) -> None:
    assert error(field, value) == text


BAD_HEADER = "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
RULES: list[tuple[fields.Field, Any, Any]] = [
    (fields.String(), "", "length must be at least 1"),
    (fields.String(len_min=0), "", None),
    (fields.String(len_min=3), "éa", None),
    (fields.String(len_max=3), "éé", "length must be at most 3"),
    (fields.String(len_eq=2), "é", None),
    (fields.String(len_eq=2), "abc", "length must be 2"),
    (fields.String(eq="a"), "b", "value must be a"),
    (fields.String(ne="a"), "a", "value must not be a"),
    (fields.Boolean(ne=True), True, "value must not be true"),
    (fields.String(one_of=["a", "b"]), "c", "expected one of: a, b"),
    (fields.Integer(one_of=[426, 301]), 5, "expected one of: 426, 301"),
    (fields.String(not_one_of=["a", "b"]), "b", "must not be one of: a, b"),
    (fields.Number(gt=0), 0, "value must be greater than 0"),
    (fields.Number(gt=0), 0.1, None),
    (fields.Integer(between=(1, 3)), 4, "value should be between 1 and 3"),
    (fields.Integer(between=(1, 3)), 3.0, None),
    (fields.Integer(between=(1, 3)), 10**400, "value should be between 1 and 3"),
    (fields.Integer(timestamp=True), -1, "expected a valid timestamp"),
    (fields.Integer(timestamp=True), 1.5, "expected an integer"),
    (fields.String(starts_with="/"), "a", "should start with: /"),
    (fields.String(match="^%u+$"), "aB", "invalid value: aB"),
    (fields.String(match="^%u+$", err="capitals only"), "aB", "capitals only"),
    (fields.String(not_match="x"), "axb", "invalid value: axb"),
    (fields.String(match_none=[{"pattern": "//", "err": "no"}]), "a//b", "no"),
    (fields.String(match_all=[{"pattern": "^a"}, {"pattern": "b$", "err": "end"}]), "ac", "end"),
    (fields.String(match_any={"patterns": ["^a", "^b"], "err": "either"}), "c", "either"),
    (fields.Regex(), "a(", "not a valid regex: a("),
    (fields.Regex(), "(?=a)", "not a valid regex: (?=a)"),
    (fields.Regex(), r"(a)\1", r"not a valid regex: (a)\1"),
    (fields.Array(fields.String(), contains="exp"), ["nbf"], "expected to contain: exp"),
    (fields.Array(fields.String(), len_min=1), [], "length must be at least 1"),
    (fields.Array(fields.Integer()), [1, "x", 3, None], {2: "expected an integer", 4: "required field missing"}),
    (fields.Map(fields.HeaderName(), fields.String()), {"a b": "c"}, BAD_HEADER),
    (fields.Map(values=fields.Integer()), {"a": "b"}, "expected an integer"),
    (fields.Foreign("services"), {}, {"id": "missing primary key"}),
    (fields.Foreign("services"), {"id": "x"}, {"id": "expected a valid UUID"}),
    (fields.Foreign("consumers", eq=None), {"id": "x"}, "value must be null"),
    (fields.UUID(), "x", "expected a valid UUID"),
    (fields.UUID(), "FD02801F-0957-4A15-A55A-C8D9606F30B5", None),
    (fields.Set(fields.String(), mutually_exclusive_subsets=[["a"], ["b", "c"]]), ["c", "a"],
     "these sets are mutually exclusive: ('a'), ('b', 'c')"),
    (fields.String(custom_validator=lambda value: "no" if value == "x" else None), "x", "no"),
    (fields.String(referenceable=True, len_max=3), "{vault://env/a}", None),
    (fields.String(len_max=3), "{vault://env/a}", "length must be at most 3"),
    (fields.String(), "a\ud800", "invalid utf-8 character sequence detected at position 2"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "text"), RULES, ids=lambda value: repr(value)[:40])
def test_rules_have_kongs_texts(field: fields.Field, value: Any, text: Any) -> None:
    assert error(field, value) == text


BAD_COOKIE = (
    "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab "
    'and the characters ()<>@,;:\\"/?={}[] are not allowed.'
)
NAMED: list[tuple[fields.Field, str, str | None]] = [
    (fields.Utf8Name(), "a.b-c_d~1é", None),
    (fields.Utf8Name(), "x y",
     "invalid value 'x y': the only accepted ascii characters are alphanumerics or ., -, _, and ~"),
    (fields.Tag(), "a b!", None),
    (fields.Tag(), "日本", None),
    (fields.Tag(), "a,b",
     "invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"),
    (fields.Tag(), "a/b",
     "invalid tag 'a/b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"),
    (fields.Protocol(), "ws", "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp"),
    (fields.Host(), "a_b.example-1.test.", None),
    (fields.Host(), "127.0.0.1", None),
    (fields.Host(), "::1", None),
    (fields.Host(), "[::1]", None),
    (fields.Host(), "a b", "invalid value: a b"),
    (fields.Host(), "a-.b", "invalid value: a-.b"),
    (fields.Host(), "a..b", "invalid value: a..b"),
    (fields.Host(), "1.2.3", "invalid value: 1.2.3"),
    (fields.Host(), "a:80", "must not have a port"),
    (fields.Host(), "a:99999", "must not have a port"),
    (fields.HostWithOptionalPort(), "a:80", None),
    (fields.HostWithOptionalPort(), "a:0", "invalid port number"),
    (fields.HostWithOptionalPort(), "a b", "invalid hostname: a b"),
    (fields.HostWithOptionalPort(), "1.2.3:80", "invalid ipv4 address: 1.2.3:80"),
    (fields.HostWithOptionalPort(), "[::x]", "invalid ipv6 address: [::x]"),
    (fields.Ip(), "1.2.3", "not an ip address: 1.2.3"),
    (fields.IpOrCidr(), "10.0.0.0/8", None),
    (fields.IpOrCidr(), "::/129", "invalid ip or cidr range: '::/129'"),
    (fields.Path(), "a", "should start with: /"),
    (fields.Path(), "/a//b", "must not have empty segments"),
    (fields.Path(), "/a b",
     "invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)"),
    (fields.Path(), "/%zz", "invalid url-encoded value: '%zz'"),
    (fields.HeaderName(), "x y", "bad header name 'x y', allowed characters are A-Z, a-z, 0-9, '_', and '-'"),
    (fields.CookieName(), "a b", BAD_COOKIE),
    (fields.HttpMethod(), "FOO", None),
    (fields.HttpMethod(), "get", "invalid value: get"),
    (fields.Sni(), "1.2.3.4", "must not be an IP"),
    (fields.Sni(), "a:1", "must not have a port"),
    (fields.Sni(), "a b", "invalid value: a b"),
    (fields.WildcardHost(), "*.a", None),
    (fields.WildcardHost(), "a.*.b", "wildcard must be leftmost or rightmost character"),
    (fields.WildcardHost(), "*.a.*", "only one wildcard must be specified"),
    (fields.Url(), "http://h/p", None),
    (fields.Url(), "http://", "missing host in url"),
    (fields.Url(), "//h", "missing scheme in url"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "text"), NAMED, ids=lambda value: repr(value)[:40])
def test_named_fields_have_kongs_texts(field: fields.Field, value: str, text: str | None) -> None:
    assert error(field, value) == text


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        (fields.Integer(), 5.0, 5),
        (fields.Number(), 5.0, 5),
        (fields.Number(), 0.5, 0.5),
        (fields.Integer(), 2**53, 2**53),
        (fields.Set(fields.String()), ["b", "a", "b"], ["b", "a"]),
        (fields.Set(fields.Integer()), [1, True, 1], None),
        (fields.Array(fields.String()), ["b", "a", "b"], ["b", "a", "b"]),
        (fields.Array(fields.String()), {}, []),
        (fields.Map(), [], {}),
        (fields.Foreign("services"), {"id": "FD02801F-0957-4A15-A55A-C8D9606F30B5", "name": "x"},
         {"id": "fd02801f-0957-4a15-a55a-c8d9606f30b5"}),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_values_are_stored_in_one_form(field: fields.Field, given: Any, stored: Any) -> None:
    value = outcome(field, given)[0]
    assert json.dumps(value) == json.dumps(stored)


@pytest.mark.parametrize(
    ("field", "absent", "null"),
    [
        (fields.String(), (None, None), (None, None)),
        (fields.String(load_default="d"), ("d", None), (None, None)),
        (fields.String(required=True), (None, "required field missing"), (None, "required field missing")),
        (fields.String(required=True, load_default="d"), ("d", None), (None, "required field missing")),
        (fields.Array(fields.String(), load_default=["d"]), (["d"], None), (None, None)),
        (fields.Record({"a": fields.Integer(load_default=1)}), ({"a": 1}, None), (None, "required field missing")),
        (fields.Record({"a": fields.Integer(load_default=1)}, required=False), (None, None), (None, None)),
        (fields.Record({"a": fields.Integer(load_default=1)}, load_default={"a": 2}), ({"a": 2}, None),
         (None, "required field missing")),
        (fields.Record({"a": fields.Integer(required=True)}), (None, {"a": "required field missing"}),
         (None, "required field missing")),
        (fields.String(eq="a"), (None, None), (None, "value must be a")),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_absence_and_null_differ(field: fields.Field, absent: Any, null: Any) -> None:
    schema: Record = type("One", (Record,), {"x": field})()
    result, errors = schema.run({})
    assert (result.get("x"), errors.get("x")) == absent
    assert outcome(field, None) == null


def test_defaults_are_never_shared() -> None:
    schema: Record = type("One", (Record,), {"x": fields.Array(fields.String(), load_default=["a"])})()
    schema.run({})[0]["x"].append("b")
    assert schema.run({})[0] == {"x": ["a"]}


def test_generated_strings_are_32_letters_and_digits() -> None:
    schema: Record = type("One", (Record,), {"x": fields.String(auto=True)})()
    first, second = schema.run({})[0]["x"], schema.run({"x": None})[0]["x"]
    assert first != second
    assert len(first) == len(second) == 32
    assert (first + second).isalnum()
    assert (first + second).isascii()


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(TypeError, match="String does not know minimum"):
        fields.String(minimum=1)


@pytest.mark.parametrize("value", [None, "x", 5, ["a"]])
def test_an_entity_must_be_an_object(value: Any) -> None:
    schema: Record = type("One", (Record,), {"x": fields.String()})()
    assert schema.run(value)[1] == {"@entity": ["expected a record"]}
