"""Every fixture file fed straight to the readers: the same verdict, however the bytes are cut into pieces."""

import pytest

from tests.http.readers import Outcome, judge_target, pieces, read_answer, read_requests
from tests.http.runner import Fixture, load

REQUESTS = load("valid") + load("invalid")
ANSWERS = load("answers/valid") + load("answers/invalid")
SIZES = (1, 2, 3, 7, 61)
MANY = 4000
"""Longer fixtures are cut into about so many pieces at most: readers of heads look at everything received each time."""


def named(fixture: Fixture) -> str:
    """How a fixture appears in the test's id."""
    return f"{fixture.kind}/{fixture.name}"


def check_request(outcome: Outcome, fixture: Fixture) -> None:
    """Compare what the readers said with the expectation."""
    expected = fixture.expected
    refused_by = expected.get("refused_by", "")
    if refused_by == "gateway":
        assert outcome.refused_by in ("", "target"), "this is not for the readers of heads and chunks to find"
        return
    assert outcome.refused_by == ("" if expected.get("ends") else refused_by)
    assert outcome.incomplete == bool(expected.get("ends"))
    if refused_by and not expected.get("ends"):
        assert outcome.status == expected["answers"][-1]
    read = [(message.head.method.decode(), message.body.decode("latin-1")) for message in outcome.messages]
    assert read == [(wanted["method"], wanted.get("body", "")) for wanted in expected["forwarded"]]


@pytest.mark.parametrize("fixture", REQUESTS, ids=named)
def test_request_verdict(fixture: Fixture) -> None:
    check_request(read_requests([fixture.raw], judge=judge_target), fixture)


@pytest.mark.parametrize("fixture", REQUESTS, ids=named)
def test_request_verdict_does_not_depend_on_the_pieces(fixture: Fixture) -> None:
    whole = read_requests([fixture.raw])
    for size in SIZES:
        cut = max(size, len(fixture.raw) // MANY)
        outcome = read_requests(pieces(fixture.raw, cut))
        assert (outcome.status, *outcome.summary()) == (whole.status, *whole.summary()), f"pieces of {cut} bytes"


@pytest.mark.parametrize("fixture", ANSWERS, ids=named)
def test_answer_verdict(fixture: Fixture) -> None:
    expected = fixture.expected
    outcome = read_answer([fixture.raw], expected["request"].split()[0])
    refused_by = expected.get("refused_by", "")
    if refused_by == "gateway":
        assert outcome.incomplete
    elif expected["ends"] and refused_by == "head" and not outcome.refused_by:
        assert outcome.incomplete, "an answer that is cut short"
    elif outcome.messages and outcome.messages[-1].head.status == 101:
        assert expected["status"] == 502, "an upgrade nobody asked for is for the gateway to find"
    elif fixture.name == "1xx-endless":
        assert len(outcome.messages) > 1000, "counting interim answers is for the gateway"
    else:
        assert outcome.refused_by == refused_by
    if not refused_by:
        last = outcome.messages[-1]
        assert (last.head.status, last.body.decode("latin-1")) == (expected["status"], expected["body"])


@pytest.mark.parametrize("fixture", ANSWERS, ids=named)
def test_answer_verdict_does_not_depend_on_the_pieces(fixture: Fixture) -> None:
    method = fixture.expected["request"].split()[0]
    whole = read_answer([fixture.raw], method).summary()
    for size in SIZES:
        cut = max(size, len(fixture.raw) // MANY)
        assert read_answer(pieces(fixture.raw, cut), method).summary() == whole, f"pieces of {cut} bytes"
