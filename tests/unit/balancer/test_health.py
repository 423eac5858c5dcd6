"""The state machine of health: the worked examples, and that no order of reports leads anywhere else."""

from itertools import product
from typing import Any

import pytest

from kong_gevent.balancer.health import (
    HEALTHY,
    HTTP_FAILURE,
    MOSTLY_HEALTHY,
    MOSTLY_UNHEALTHY,
    SUCCESS,
    TCP_FAILURE,
    TIMEOUT,
    UNHEALTHY,
    Limits,
    after,
    is_available,
    kind_of,
    share_is_enough,
)

OK, HTTP, TCP, LATE = SUCCESS, HTTP_FAILURE, TCP_FAILURE, TIMEOUT
Limit = dict[int, int]


def run(limits: Limit, *reports: int, state: int = HEALTHY) -> list[int]:
    kinds = []
    for report in reports:
        state = after(state, report, limits.get(report, 0))
        kinds.append(kind_of(state))
    return kinds


@pytest.mark.parametrize(
    ("limits", "reports", "kinds"),
    [
        ({HTTP: 3}, [HTTP, HTTP, OK, HTTP], [MOSTLY_HEALTHY, MOSTLY_HEALTHY, MOSTLY_HEALTHY, UNHEALTHY]),
        ({HTTP: 2, OK: 2}, [HTTP, HTTP, OK, OK], [MOSTLY_HEALTHY, UNHEALTHY, MOSTLY_UNHEALTHY, HEALTHY]),
        (
            {HTTP: 3, OK: 2},
            [HTTP, OK, HTTP, HTTP, OK, HTTP, HTTP, HTTP],
            [MOSTLY_HEALTHY, MOSTLY_HEALTHY, *[MOSTLY_HEALTHY] * 5, UNHEALTHY],
        ),
        ({HTTP: 3, OK: 1}, [HTTP, HTTP, OK, HTTP], [MOSTLY_HEALTHY, MOSTLY_HEALTHY, HEALTHY, MOSTLY_HEALTHY]),
        ({HTTP: 1, OK: 2}, [HTTP, OK, HTTP, OK, OK], [UNHEALTHY, MOSTLY_UNHEALTHY, UNHEALTHY, MOSTLY_UNHEALTHY, 0]),
        ({HTTP: 2, TCP: 2, LATE: 2}, [HTTP, TCP, LATE, TCP], [*[MOSTLY_HEALTHY] * 3, UNHEALTHY]),
        ({HTTP: 1}, [TCP, LATE, OK, HTTP, OK], [HEALTHY, HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY]),
        ({TCP: 1}, [TCP], [UNHEALTHY]),
        ({LATE: 2}, [LATE, LATE, LATE], [MOSTLY_HEALTHY, UNHEALTHY, UNHEALTHY]),
        ({HTTP: 255}, [HTTP] * 255, [*[MOSTLY_HEALTHY] * 254, UNHEALTHY]),
    ],
)
def test_examples(limits: Limit, reports: list[int], kinds: list[int]) -> None:
    assert run(limits, *reports) == kinds


def test_only_the_unhealthy_get_no_traffic() -> None:
    kinds = (HEALTHY, MOSTLY_HEALTHY, UNHEALTHY, MOSTLY_UNHEALTHY)
    assert [is_available(kind) for kind in kinds] == [True, True, False, False]


def slow_machine(limits: Limit, reports: tuple[int, ...]) -> int:
    """The rules in plain words: the state's name, and a counter for each kind."""
    kind, counts = HEALTHY, dict.fromkeys((OK, HTTP, TCP, LATE), 0)
    for report in reports:
        good = report == OK
        full, partly = (HEALTHY, MOSTLY_UNHEALTHY) if good else (UNHEALTHY, MOSTLY_HEALTHY)
        if not limits[report] or kind == full:
            continue
        counts[report] += 1
        for other in (HTTP, TCP, LATE) if good else (OK,):
            counts[other] = 0
        if counts[report] >= limits[report]:
            kind = full
        elif kind == (UNHEALTHY if good else HEALTHY):
            kind = partly
    return kind


@pytest.mark.parametrize("limits", [{OK: 2, HTTP: 2, TCP: 1, LATE: 3}, {OK: 0, HTTP: 2, TCP: 2, LATE: 0}])
def test_every_sequence_ends_where_the_rules_say(limits: Limit) -> None:
    for reports in product((OK, HTTP, TCP, LATE), repeat=6):
        assert run(limits, *reports)[-1] == slow_machine(limits, reports), reports


def checks(**given: Any) -> dict[str, Any]:
    good = {"successes": 1, "http_statuses": [200, 302]}
    bad = {"http_failures": 1, "tcp_failures": 2, "timeouts": 3, "http_statuses": [429, 500]}
    return {"type": "http", "healthy": good, "unhealthy": bad, **given}


def test_what_statuses_count_as() -> None:
    limits = Limits.of(checks())
    assert [limits.report_of(status) for status in (200, 302, 404, 429, 500)] == [OK, OK, None, HTTP, HTTP]
    assert limits.limits == {OK: 1, HTTP: 1, TCP: 2, LATE: 3}
    assert (limits.probes, limits.fails) == (False, True)
    assert Limits.of(checks(type="tcp")).report_of(500) is None


@pytest.mark.parametrize(
    ("available", "total", "threshold", "enough"),
    [(1, 100, 0, True), (0, 100, 0, False), (0, 0, 0, False), (50, 100, 50, False), (51, 100, 50, True),
     (100, 100, 100, False), (100, 100, 99.5, True)],
)  # fmt: skip
def test_the_threshold_has_to_be_exceeded(available: int, total: int, threshold: float, enough: bool) -> None:
    assert share_is_enough(available, total, threshold) is enough
