"""Edits of a header section: what replaces what, and the bytes that go out."""

import pytest

from kong_gevent.http.fields import RequestFields
from kong_gevent.pdk.edits import FieldEdits, HeaderTemplate

TEMPLATE = HeaderTemplate([("X-A", "%d"), ("X-B", "%b")], added=[("Vary", "Origin")], cleared=["X-C"])


def edited(*steps: tuple[str, object]) -> FieldEdits:
    edits = FieldEdits()
    for name, arguments in steps:
        getattr(edits, name)(*(arguments if isinstance(arguments, tuple) else (arguments,)))
    return edits


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        ([("set", ("A", "1")), ("set", ("a", "2"))], b"a: 2\r\n"),
        ([("set", ("A_B", "1")), ("set", ("a-b", "2"))], b"a-b: 2\r\n"),
        ([("set", ("A", ["1", "2"]))], b"A: 1\r\nA: 2\r\n"),
        ([("set", ("A", 7))], b"A: 7\r\n"),
        ([("set", ("A", 0.5))], b"A: 0.5\r\n"),
        ([("set", ("A", "ü"))], "A: ü\r\n".encode()),
        ([("add", ("A", "1")), ("add", ("A", "2"))], b"A: 1\r\nA: 2\r\n"),
        ([("add", ("A", "1")), ("set", ("A", "2"))], b"A: 2\r\n"),
        ([("set", ("A", "1")), ("add", ("A", "2"))], b"A: 1\r\nA: 2\r\n"),
        ([("add", ("A", "1")), ("set", ("B", "2")), ("clear", "B"), ("add", ("A", "3"))], b"A: 1\r\nA: 3\r\n"),
        ([("set", ("A", "1")), ("clear", "a")], b""),
        ([("add", ("A", "1")), ("clear", "a")], b""),
        ([("set_all", (TEMPLATE, (1, b"x")))], b"X-A: 1\r\nX-B: x\r\nVary: Origin\r\n"),
        ([("set", ("x_c", "0")), ("set_all", (TEMPLATE, (1, b"x")))], b"X-A: 1\r\nX-B: x\r\nVary: Origin\r\n"),
        ([("set_all", (TEMPLATE, (1, b"x"))), ("set", ("X-A", "2"))], b"X-B: x\r\nVary: Origin\r\nX-A: 2\r\n"),
        ([("set_all", (TEMPLATE, (1, b"x"))), ("clear", "x-b")], b"X-A: 1\r\nVary: Origin\r\n"),
        ([("set_all", (TEMPLATE, (1, b"x"))), ("set", ("Vary", "*"))], b"X-A: 1\r\nX-B: x\r\nVary: *\r\n"),
        (
            [("add", ("Vary", "A")), ("set_all", (TEMPLATE, (1, b"x")))],
            b"Vary: A\r\nX-A: 1\r\nX-B: x\r\nVary: Origin\r\n",
        ),
        ([("add", ("X-A", "0")), ("set_all", (TEMPLATE, (1, b"x")))], b"X-A: 1\r\nX-B: x\r\nVary: Origin\r\n"),
        (
            [("set_all", (TEMPLATE, (1, b"x"))), ("set_all", (TEMPLATE, (2, b"y")))],
            b"X-A: 2\r\nX-B: y\r\nVary: Origin\r\n",
        ),
    ],
)
def test_later_edits_replace_earlier_ones(steps: list[tuple[str, object]], lines: bytes) -> None:
    assert edited(*steps).added() == lines


def test_constants_are_sent_as_they_are() -> None:
    template = HeaderTemplate([("A", HeaderTemplate.constant("100%d %% %"))])
    assert edited(("set_all", (template, ()))).added() == b"A: 100%d %% %\r\n"


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\rb", "a\0b", b"a\nb"])
def test_values_cannot_break_out_of_their_line(value: str | bytes) -> None:
    with pytest.raises(ValueError, match="line break or NUL"):
        edited(("set", ("A", value)))
    with pytest.raises(ValueError, match="line break or NUL"):
        HeaderTemplate([("A", value)])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ü"])
def test_names_must_be_tokens(name: str) -> None:
    with pytest.raises(ValueError, match="bad header name"):
        edited(("set", (name, "1")))
    with pytest.raises(ValueError, match="bad header name"):
        HeaderTemplate(cleared=[name])


SECTION = RequestFields(b"Host: a\r\nX-A: 1\r\nx_a: 2\r\nX-B: 3")


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        ([], b"X-A: 1\r\nx_a: 2\r\nX-B: 3\r\n"),
        ([("set", ("x-a", "9"))], b"X-B: 3\r\nx-a: 9\r\n"),
        ([("add", ("x-a", "9"))], b"X-A: 1\r\nx_a: 2\r\nX-B: 3\r\nx-a: 9\r\n"),
        ([("clear", "X_B")], b"X-A: 1\r\nx_a: 2\r\n"),
        ([("set", ("C", "9"))], b"X-A: 1\r\nx_a: 2\r\nX-B: 3\r\nC: 9\r\n"),
        ([("set_all", (TEMPLATE, (5, b"x")))], b"X-A: 5\r\nX-B: x\r\nVary: Origin\r\n"),
    ],
)
def test_they_are_applied_to_a_section_in_every_spelling(steps: list[tuple[str, object]], lines: bytes) -> None:
    assert edited(*steps).apply(SECTION) == lines


def test_a_section_that_is_edited_again_and_again() -> None:
    section = RequestFields(b"Host: a\r\nX-A: old\r\nX-C: old\r\nX-D: old")
    other = HeaderTemplate([("X-D", "%d")])
    for number in range(3):
        filled = edited(("set_all", (TEMPLATE, (number, b"x"))))
        assert filled.apply(section) == b"X-D: old\r\nX-A: %d\r\nX-B: x\r\nVary: Origin\r\n" % number
        filled = edited(("set_all", (other, (number,))))
        assert filled.apply(section) == b"X-A: old\r\nX-C: old\r\nX-D: %d\r\n" % number
        filled = edited(("set", ("X-E", "1")))
        assert filled.apply(section, b"from a proxy\r\n") == b"from a proxy\r\nX-E: 1\r\n"


@pytest.mark.parametrize(
    ("name", "values"),
    [("x-a", ["1"]), ("X_B", ["x"]), ("vary", ["Origin"]), ("x-c", []), ("x-d", None)],
)
def test_values_tell_what_will_be_sent(name: str, values: list[str] | None) -> None:
    assert edited(("set_all", (TEMPLATE, (1, b"x")))).values(name) == values


@pytest.mark.parametrize(
    ("earlier", "later", "lines"),
    [
        ([("set", ("A", "1"))], [("set", ("A", "2"))], b"A: 2\r\n"),
        ([("set", ("A", "1"))], [("set", ("B", "2"))], b"A: 1\r\nB: 2\r\n"),
        ([("add", ("A", "1"))], [("add", ("A", "2"))], b"A: 1\r\nA: 2\r\n"),
        ([("set_all", (TEMPLATE, (1, b"x")))], [("set", ("X-A", "2"))], b"X-B: x\r\nVary: Origin\r\nX-A: 2\r\n"),
        ([("set", ("A", "1"))], [("clear", "A")], b""),
    ],
)
def test_edits_can_be_laid_over_others(
    earlier: list[tuple[str, object]], later: list[tuple[str, object]], lines: bytes
) -> None:
    assert edited(*later).over(edited(*earlier)).added() == lines
