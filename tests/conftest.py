"""Fixtures that every folder of tests shares: a running gateway, an upstream, and factories for more of both."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.upstream import Upstream

pytest_plugins = ["tests.servers.fixtures"]


def pytest_configure() -> None:
    """Let SIGTERM end a run as Ctrl-C does, so that no gateway of ours outlives it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One node with one worker and an SQLite store; shared by the tests of a module."""
    with Gateway() as node:
        yield node


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """An echoing upstream; shared by the tests of a module (``upstream.clear()`` forgets what came)."""
    with Upstream() as server:
        yield server


@pytest.fixture
def made_gateways() -> list[Gateway]:
    """Those that `make_gateway` has started in this test."""
    return []


@pytest.fixture
def make_gateway(made_gateways: list[Gateway]) -> Iterator[Callable[..., Gateway]]:
    """Start more nodes: ``make_gateway(workers=4, env={…})``; they end with the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Gateway:
            made_gateways.append(stack.enter_context(Gateway(**options)))
            return made_gateways[-1]

        yield make


@pytest.fixture
def make_upstream() -> Iterator[Callable[..., Upstream]]:
    """Start more upstreams: ``make_upstream(plain(b"a"))``; they end with the test."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Upstream:
            return stack.enter_context(Upstream(*arguments, **options))

        yield make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the end of the gateways' logs to the report of a test that failed; a fixture tells of its `gateways`."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.failed:
        return
    values = getattr(item, "funcargs", {})
    nodes = {name: value for name, value in values.items() if isinstance(value, Gateway)}
    groups = {name: getattr(value, "gateways", ()) for name, value in values.items()}
    groups["the test"] = values.get("made_gateways", ())
    for name, group in groups.items():
        nodes |= {f"gateway {number} of {name}": node for number, node in enumerate(group, 1)}
    for name, node in nodes.items():
        report.sections.append((f"logs of {name}", node.tail(40)))
