"""Access logs: what a line holds, and that none is lost when a process leaves."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.http.fields import RequestFields
from kong_gevent.observe import accesslog
from kong_gevent.observe.accesslog import AccessLog, LineWriter

TIME = 1_800_000_000.25


def request(section: bytes = b"", target: bytes = b"/", trusted: bool = False, **values: Any) -> Any:
    """As much of a context as a line needs."""
    connection = SimpleNamespace(trusted=trusted, peer_bytes=b"10.0.0.1")
    told = {"method": b"GET", "minor": 1, "status": 200, "request_id": b"0f", "client_ip": "192.0.2.7", **values}
    return SimpleNamespace(
        connection=connection,
        exchange=SimpleNamespace(sent=321),
        fields=RequestFields(section),
        target=target,
        **told,
    )


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write requests to a log whose clock is set; the lines, without the clock's part."""
    clock = [TIME]
    monkeypatch.setattr(accesslog, "time", lambda: clock[0])

    def write(*requests: Any, at: float = TIME) -> list[bytes]:
        writer = LineWriter("/nowhere")
        log = AccessLog(writer, "combined")
        for asked in requests:
            clock[0] = at
            log.write(asked)
        return list(writer._lines)

    return write


def rest_of(line: bytes) -> bytes:
    return line[: line.index(b" - - [")] + line[line.index(b"] ") + 1 :]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (request(), b'10.0.0.1 "GET / HTTP/1.1" 200 321 "-" "-" kong_request_id: "0f"\n'),
        (request(trusted=True), b'192.0.2.7 "GET / HTTP/1.1" 200 321 "-" "-" kong_request_id: "0f"\n'),
        (
            request(trusted=True, client_ip="", minor=0, status=404),
            b'unix: "GET / HTTP/1.0" 404 321 "-" "-" kong_request_id: "0f"\n',
        ),
        (
            request(b"Referer: http://a/\r\nUser-Agent: x", b'/a"b\\c'),
            rb'10.0.0.1 "GET /a\x22b\x5Cc HTTP/1.1" 200 321 "http://a/" "x" kong_request_id: "0f"' + b"\n",
        ),
        (
            request(b'User-Agent: "\xc3\tx\r\nUser_Agent: second\r\nReferer: \\'),
            rb'10.0.0.1 "GET / HTTP/1.1" 200 321 "\x5C" "\x22\xC3\x09x" kong_request_id: "0f"' + b"\n",
        ),
    ],
)
def test_combined_lines(lines: Any, asked: Any, line: bytes) -> None:
    assert [rest_of(found) for found in lines(asked, asked)] == [line, line]


@pytest.mark.parametrize("step", [1, -1, 3600, 0.5])
def test_the_stamp_follows_the_clock_both_ways(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    clock = [TIME]
    monkeypatch.setattr(accesslog, "time", lambda: clock[0])
    writer = LineWriter("/nowhere")
    log = AccessLog(writer, "combined")
    log.write(request())
    clock[0] += step
    log.write(request())
    first, second = (line[line.index(b"[") : line.index(b"]")] for line in writer._lines)
    assert (first == second) is (step == 0.5)


def test_a_flush_waits_for_the_one_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LineWriter(str(tmp_path / "access.log"))
    begun, go_on = Event(), Event()

    def slow(function: Any, *args: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return function(*args)

    monkeypatch.setattr(accesslog, "offload", slow)
    writer.append(b"first\n")
    earlier = gevent.spawn(writer.flush)
    assert begun.wait(30)
    writer.append(b"second\n")
    last = gevent.spawn(writer.flush)
    gevent.sleep(0)
    assert not last.dead
    go_on.set()
    gevent.joinall([earlier, last], 30, raise_error=True)
    assert (tmp_path / "access.log").read_bytes() == b"first\nsecond\n"


def test_reopening_uses_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = LineWriter(str(path))
    writer.append(b"before\n")
    writer.flush()
    os.rename(path, tmp_path / "old")
    writer.reopen()
    writer.append(b"after\n")
    writer.flush()
    assert (tmp_path / "old").read_bytes() == b"before\n"
    assert path.read_bytes() == b"after\n"
