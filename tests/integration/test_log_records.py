"""What log records and metrics tell of requests that ended in other ways than a whole answer of the upstream."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.support import ask_once, head
from tests.upstream import CLOSE, RESET, Step, Take, answer, plain, script
from tests.wire import Request, Stream, wait_until

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 1000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


class Records:
    """The records of a gateway's file-log."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def of(self, path: str) -> dict[str, Any]:
        """The record of the only request for this path; waits until it is there."""

        def found() -> list[dict[str, Any]]:
            lines = self.file.read_text().splitlines() if self.file.exists() else []
            return [record for record in map(json.loads, lines) if record["request"]["uri"] == path]

        (record,) = wait_until(found)
        return record


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return Records(tmp_path_factory.mktemp("logs") / "file.log")


@pytest.fixture(scope="module")
def gateway(records: Records) -> Iterator[Gateway]:
    with Gateway() as node:
        node.create("/plugins", name="file-log", config={"path": str(records.file)})
        node.create("/plugins", name="prometheus", config={"status_code_metrics": True, "bandwidth_metrics": True})
        yield node


def counted(gateway: Gateway, record: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Requests of a record's route: number by status and source."""
    found = re.findall(
        rf'^kong_http_requests_total{{[^}}]*route="{record["route"]["id"]}",code="(\d+)",source="(\w+)"[^}}]*}} (\d+)$',
        gateway.admin("GET", "/metrics").text,
        re.MULTILINE,
    )
    return {(code, source): int(number) for code, source, number in found}


def traffic(gateway: Gateway, record: dict[str, Any]) -> dict[str, int]:
    """Octets of a record's route by direction."""
    found = re.findall(
        rf'^kong_bandwidth_bytes{{[^}}]*route="{record["route"]["id"]}",direction="(\w+)"[^}}]*}} (\d+)$',
        gateway.admin("GET", "/metrics").text,
        re.MULTILINE,
    )
    return {direction: int(number) for direction, number in found}


def route_of(gateway: Gateway, path: str) -> dict[str, Any]:
    """The route with this path."""
    (route,) = [row for row in gateway.admin("GET", "/routes?size=1000").json()["data"] if row["paths"] == [path]]
    return dict(route)


def told(record: dict[str, Any]) -> tuple[int, str, str]:
    """Status, the upstream's status or statuses, and who answered."""
    return record["response"]["status"], record["upstream_status"], record["source"]


def tries(record: dict[str, Any]) -> list[tuple[str | None, int | None]]:
    """State and code of each try."""
    return [(one.get("state"), one.get("code")) for one in record["tries"]]


def until_closed(stream: Stream) -> None:
    """Read on, and so notice the end."""
    for _ in stream.rest():
        continue


def test_the_client_leaves_while_it_waits(gateway: Gateway, site: Any, records: Records) -> None:
    path, upstream = site(script(Take(until_closed)))
    with gateway.client() as client:
        client.send(head("GET", path))
        wait_until(lambda: upstream.requests)
    record = records.of(path)
    assert told(record) == (499, "", "kong")
    assert tries(record) == [(None, None)]
    assert record["tries"][0]["port"] == upstream.port
    assert record["response"] == {"status": 499, "size": 0, "headers": record["response"]["headers"]}
    latencies = record["latencies"]
    assert latencies["proxy"] >= 0 and latencies["receive"] == 0
    assert latencies["request"] >= latencies["proxy"] + latencies["kong"] - 1
    assert counted(gateway, record) == {("499", "kong"): 1}
    assert traffic(gateway, record)["egress"] == 0


def test_the_client_leaves_before_its_body_is_complete(gateway: Gateway, site: Any, records: Records) -> None:
    path, _ = site(plain())
    with gateway.client() as client:
        client.send(head("POST", path, "Content-Length: 100") + b"x" * 10)
    record = records.of(path)
    assert told(record) == (499, "", "kong")
    assert counted(gateway, record) == {("499", "kong"): 1}


@pytest.mark.parametrize("reply", [BEGUN, CHUNKED], ids=["length", "chunked"])
def test_the_client_leaves_within_the_answer(gateway: Gateway, site: Any, records: Records, reply: bytes) -> None:
    path, _ = site(script(reply, Take(until_closed)))
    with gateway.client() as client:
        client.send(head("GET", path))
        client.stream.until(b"x" * 100 if reply is BEGUN else b"abc")
    record = records.of(path)
    assert told(record) == (499, "200", "upstream")
    assert f"request {record['request']['id']}: the answer is cut" not in gateway.log()
    assert tries(record) == [(None, None)]
    assert record["response"]["size"] > 100
    assert counted(gateway, record) == {("499", "service"): 1}
    assert traffic(gateway, record)["egress"] == record["response"]["size"]


@pytest.mark.parametrize("filtered", [False, True], ids=["bare", "filtered"])
@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["close", "reset"])
@pytest.mark.parametrize(
    "reply", [BEGUN, CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CHUNKED + b"zz\r\n"],
    ids=["large", "chunked", "small", "malformed"],
)  # fmt: skip
def test_the_upstream_fails_within_its_answer(
    gateway: Gateway, site: Any, records: Records, reply: bytes, end: Step, filtered: bool
) -> None:
    def steps(_: Request) -> Iterable[Step]:
        yield reply
        if end is RESET:
            yield Take(lambda stream: None)  # what was sent is read first
        yield end

    path, _ = site(steps)
    route = route_of(gateway, path)
    if filtered:
        gateway.create(f"/routes/{route['id']}/plugins", name="proxy-cache", config={"strategy": "memory"})
    received = ask_once(gateway, "GET", path)
    assert (received.status, received.complete) == (200, False)
    record = records.of(path)
    assert told(record) == (200, "200", "upstream")
    assert tries(record) == [(None, None)]
    assert counted(gateway, record) == {("200", "service"): 1}
    assert f"request {record['request']['id']}: the answer is cut: the upstream" in gateway.log()


def test_failed_tries_are_told_in_their_order(gateway: Gateway, site: Any, records: Records) -> None:
    replies = iter([(CLOSE,), (answer(200, b"ok"),)])
    path, _ = site(lambda _: next(replies))
    assert ask_once(gateway, "GET", path).status == 200
    record = records.of(path)
    assert told(record) == (200, "502, 200", "upstream")
    assert tries(record) == [("failed", 502), (None, None)]
    assert counted(gateway, record) == {("200", "service"): 1}


def test_nobody_is_there(gateway: Gateway, records: Records) -> None:
    (port,) = free_ports(1)
    gateway.route(f"http://{LOOPBACK}:{port}", service={"retries": 1}, paths=["/nobody"])
    assert ask_once(gateway, "GET", "/nobody").status == 502
    record = records.of("/nobody")
    assert told(record) == (502, "502, 502", "kong")
    assert tries(record) == [("failed", 502)] * 2
    assert record["latencies"]["proxy"] >= 0
    assert counted(gateway, record) == {("502", "kong"): 1}


def test_a_plugin_answers(gateway: Gateway, site: Any, records: Records) -> None:
    path, upstream = site(plain())
    route = route_of(gateway, path)
    gateway.create(f"/routes/{route['id']}/plugins", name="request-termination", config={"status_code": 418})
    received = ask_once(gateway, "GET", path)
    record = records.of(path)
    assert told(record) == (418, "", "kong")
    assert (record["tries"], record["upstream_uri"], upstream.requests) == ([], "", [])
    assert (record["latencies"]["proxy"], record["latencies"]["receive"]) == (-1, 0)
    assert record["response"]["size"] > len(received.body)
    assert counted(gateway, record) == {("418", "kong"): 1}


def test_a_plugin_refuses_what_the_upstream_answered(gateway: Gateway, site: Any, records: Records) -> None:
    path, _ = site(plain(b"secret", headers=[("X-Kong-Limit", "video=2")]))
    route = route_of(gateway, path)
    config = {"limits": {"video": {"minute": 1}}}
    gateway.create(f"/routes/{route['id']}/plugins", name="response-ratelimiting", config=config)
    statuses = [ask_once(gateway, "GET", f"{path}?{number}").status for number in range(2)]
    assert statuses == [200, 429]
    record = records.of(f"{path}?1")
    assert told(record)[:2] == (429, "200")


@pytest.mark.parametrize("early", [b"", b"12345"], ids=["later", "at once"])
def test_a_tunnel_ends(gateway: Gateway, site: Any, records: Records, early: bytes) -> None:
    def both_ways(stream: Stream) -> None:
        while stream.fill():
            continue
        stream.sock.sendall(b"y" * 5000)

    path, _ = site(script(SWITCHED, Take(both_ways)))
    asked = head("GET", path, *UPGRADE)
    with gateway.client() as client:
        client.send(asked + early)
        assert client.answer().status == 101
        client.send(b"z" * 3000)
        client.end()
        assert len(b"".join(client.stream.rest())) == 5000
    record = records.of(path)
    assert told(record) == (101, "101", "upstream")
    assert tries(record) == [(None, None)]
    assert record["request"]["size"] == len(asked) + len(early) + 3000
    assert record["response"]["size"] > 5000
    assert record["latencies"]["receive"] >= 0 and record["latencies"]["proxy"] >= 0
    assert counted(gateway, record) == {("101", "service"): 1}
    assert traffic(gateway, record) == {
        "ingress": record["request"]["size"],
        "egress": record["response"]["size"],
    }
