"""Every fixture file against a running gateway over real sockets, by both transports."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.gateway import TRANSPORTS, Gateway
from tests.http.make_fixtures import contents, on_disk
from tests.http.runner import Fixture, Lab, load

REQUESTS = load("valid") + load("invalid")
ANSWERS = load("answers/valid") + load("answers/invalid")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The configured gateway; behind the WSGI transport a second node on the same store serves the Admin API."""
    with ExitStack() as stack:
        node = stack.enter_context(Gateway(env={"db_update_frequency": "0.1"}))
        built = Lab.build(node)
        stack.callback(built.close)
        if request.param == "wsgi":
            store = {"sqlite_path": node.settings.get("KONG_SQLITE_PATH", str(node.prefix / "kong.sqlite3"))}
            other = stack.enter_context(Gateway(transport="wsgi", env={**store, "db_update_frequency": "0.1"}))
            built.port = other.proxy_port
        yield built


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
    return pytest.mark.parametrize(("lab", "fixture"), pairs, indirect=["lab"])


@by_transport(REQUESTS)
def test_request(lab: Lab, fixture: Fixture) -> None:
    lab.play_request(fixture)


@by_transport(ANSWERS)
def test_answer(lab: Lab, fixture: Fixture) -> None:
    lab.play_answer(fixture)
