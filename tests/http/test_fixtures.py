"""Every fixture file against a running gateway over real sockets, by both transports."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.gateway import TRANSPORTS, Gateway
from tests.http.make_fixtures import contents, on_disk
from tests.http.runner import Fixture, Lab, load

REQUESTS = load("valid") + load("invalid")
ANSWERS = load("answers/valid") + load("answers/invalid")
SHORT = 600
"""Longer fixtures are not cut into small pieces over sockets (the readers' own tests do that to all)."""
Labs = Callable[[str], Lab]


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    """The configured gateway by transport; each is started when it is first asked for."""
    built: dict[str, Lab] = {}
    with ExitStack() as stack:

        def lab(transport: str) -> Lab:
            if transport not in built:
                built[transport] = start(stack, transport)
            return built[transport]

        yield lab


def start(stack: ExitStack, transport: str) -> Lab:
    """A configured gateway; behind the WSGI transport a second node on the same store serves the Admin API."""
    often = {"db_update_frequency": "0.1"}
    node = stack.enter_context(Gateway(env=often))
    lab = Lab.build(node)
    stack.callback(lab.close)
    if transport == "wsgi":
        shared = {"sqlite_path": str(node.prefix / "kong.sqlite3")}
        lab.port = stack.enter_context(Gateway(transport="wsgi", env={**often, **shared})).proxy_port
        lab.foreign = True
    return lab


def named(fixture: Fixture) -> str:
    """How a fixture appears in the test's id."""
    return f"{fixture.kind}/{fixture.name}"


def test_files_equal_the_table() -> None:
    wanted, found = contents(), on_disk()
    assert sorted(path.name for path in wanted.keys() ^ found.keys()) == []
    assert [path.name for path, data in wanted.items() if found[path] != data] == []


def by_transport(fixtures: list[Fixture]) -> pytest.MarkDecorator:
    """One test for each transport a fixture holds for."""
    pairs = [
        pytest.param(transport, fixture, id=f"{transport}-{fixture.kind}/{fixture.name}")
        for transport in TRANSPORTS
        for fixture in fixtures
        if transport == "gateway" or fixture.expected["wsgi"]
    ]
    return pytest.mark.parametrize(("transport", "fixture"), pairs)


@by_transport(REQUESTS)
def test_request(labs: Labs, transport: str, fixture: Fixture) -> None:
    labs(transport).play_request(fixture)


@pytest.mark.parametrize("fixture", [fixture for fixture in REQUESTS if len(fixture.raw) <= SHORT], ids=named)
def test_request_in_small_pieces(labs: Labs, fixture: Fixture) -> None:
    labs("gateway").play_request(fixture, size=5)


@by_transport(ANSWERS)
def test_answer(labs: Labs, transport: str, fixture: Fixture) -> None:
    labs(transport).play_answer(fixture)


@pytest.mark.parametrize("fixture", [fixture for fixture in ANSWERS if len(fixture.raw) <= SHORT], ids=named)
def test_answer_in_small_pieces(labs: Labs, fixture: Fixture) -> None:
    labs("gateway").play_answer(fixture, size=5)
