"""Health in shared memory, and the questions of probes."""

import os
from typing import Any

import pytest

from kong_gevent.balancer.health import HEALTHY, HTTP_FAILURE, MOSTLY_HEALTHY, SUCCESS, kind_of
from kong_gevent.runtime import health_table
from kong_gevent.runtime.health_table import HealthTable
from kong_gevent.runtime.probes import request_of, status_of


@pytest.fixture
def table() -> HealthTable:
    return HealthTable(slots=128)


def place_of(table: HealthTable, key: Any) -> int:
    place = table.claim(key)
    assert place is not None
    return place


def test_reports_change_what_all_processes_see(table: HealthTable) -> None:
    place = place_of(table, "a")
    epoch = table.epoch[0]
    pid = os.fork()
    if not pid:  # a worker
        table.forked()
        turned = [table.report(place_of(table, "a"), HTTP_FAILURE, 2) for _ in range(3)]
        os._exit(0 if turned == [None, False, None] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert table.epoch[0] == epoch + 1
    assert table.report(place, SUCCESS, 1) is True
    assert kind_of(table.state(place)) == HEALTHY


def test_setting_by_hand_forgets_the_counts(table: HealthTable) -> None:
    place = place_of(table, "a")
    table.report(place, HTTP_FAILURE, 2)
    assert kind_of(table.state(place)) == MOSTLY_HEALTHY
    assert table.put(place, True) is None
    assert table.report(place, HTTP_FAILURE, 2) is None
    assert table.put(place, False) is False
    assert table.put(place, True) is True


def test_health_is_remembered_for_a_while(table: HealthTable, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(health_table, "monotonic", lambda: now[0])
    place = place_of(table, "a")
    table.put(place, False)
    now[0] += health_table.KEPT
    assert kind_of(table.state(place_of(table, "a"))) != HEALTHY
    now[0] += health_table.KEPT + 1
    assert kind_of(table.state(place_of(table, "a"))) == HEALTHY


def test_room_is_found_again_once_nobody_has_the_peer(table: HealthTable, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(health_table, "monotonic", lambda: now[0])
    places = [table.claim(number) for number in range(1000)]
    taken = [place for place in places if place is not None]
    assert len(set(taken)) == len(taken)
    assert None in places
    now[0] += health_table.KEPT + 1
    assert table.claim("new") in taken


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 503\r\n", 503),
        (b"HTTP/1.1 20\r\n", None),
        (b"HTTP/2 200 OK\r\n", None),
        (b"SSH-2.0-x 200\r\n", None),
        (b"\n", None),
    ],
)
def test_status_lines(line: bytes, status: int | None) -> None:
    assert status_of(line) == status


def test_the_question() -> None:
    settings = {"http_path": "/ready?x", "headers": {"X-A": ["1", "2\r\nX-B: 3"]}}
    assert request_of(settings, "t.test") == (
        b"GET /ready?x HTTP/1.0\r\nX-A: 1\r\nX-A: 2 X-B: 3\r\nHost: t.test\r\nConnection: close\r\n\r\n"
    )
    assert request_of({"http_path": "/", "headers": {"host": ["own"]}}, "t").count(b"ost:") == 1
