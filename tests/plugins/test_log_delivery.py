"""Log plugins of a real node: sinks that are slow cost requests nothing, and what waits is sent before the end."""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPSConnection
from pathlib import Path
from socket import create_server

import pytest

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.plugins.sinks import DatagramSink, HttpSink, LineSink
from tests.upstream import Upstream
from tests.wire import wait_until

REQUESTS = 30


@pytest.fixture
def silence() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


def lost(gateway: Gateway) -> dict[str, int]:
    """Entries lost, by the plugin's name."""
    text = gateway.admin("GET", "/metrics").text
    found = re.findall(r'^kong_queue_entries_lost_total\{queue="([a-z-]+) plugin [^"]*"\} (\d+)$', text, re.MULTILINE)
    return {name: int(number) for name, number in found}


def test_a_server_that_never_answers_holds_up_no_request_and_its_losses_are_told(
    make_gateway: Callable[..., Gateway], upstream: Upstream, silence: int
) -> None:
    gateway = make_gateway(workers=1)
    gateway.route(upstream.url)
    gateway.create("/plugins", name="prometheus")
    queue = {"max_entries": 5, "max_retry_time": 0}
    config = {"http_endpoint": f"http://user:s3cret@{LOOPBACK}:{silence}/", "timeout": 600000, "queue": queue}
    gateway.create("/plugins", name="http-log", config=config)
    # None of these can be delivered: they would not end if they had to wait for it.
    assert {gateway.get("/").status_code for _ in range(REQUESTS)} == {200}
    wait_until(lambda: lost(gateway).get("http-log", 0) >= REQUESTS - 7)
    wait_until(lambda: "queue full, dropping old entries until processing is successful again" in gateway.log())
    assert "queue at 80% capacity" in gateway.log()
    assert "s3cret" not in gateway.log()


def test_what_waits_is_sent_before_the_end(
    make_gateway: Callable[..., Gateway], upstream: Upstream, tmp_path: Path
) -> None:
    gateway = make_gateway(workers=2)
    gateway.route(upstream.url)
    file = tmp_path / "file.log"
    with ExitStack() as stack:
        posted, lines = stack.enter_context(HttpSink()), stack.enter_context(LineSink())
        datagrams = stack.enter_context(DatagramSink())
        queue = {"max_batch_size": 1000, "max_coalescing_delay": 3600}
        endpoint = f"http://{LOOPBACK}:{posted.port}/"
        gateway.create("/plugins", name="http-log", config={"http_endpoint": endpoint, "queue": queue})
        gateway.create("/plugins", name="tcp-log", config={"host": LOOPBACK, "port": lines.port})
        gateway.create("/plugins", name="udp-log", config={"host": LOOPBACK, "port": datagrams.port})
        gateway.create("/plugins", name="file-log", config={"path": str(file)})
        for number in range(REQUESTS):
            assert gateway.get(f"/{number}", headers={"Connection": "close"}).status_code == 200
        assert posted.requests == []
        gateway.stop()
        wait_until(lambda: len(lines.lines) == REQUESTS)
        found = [
            [record for batch in posted.bodies for record in batch],
            [json.loads(line) for line in lines.lines],
            [json.loads(datagrams.receive()) for _ in range(REQUESTS)],
            [json.loads(line) for line in file.read_text().splitlines()],
        ]
    for records in found:
        assert {record["request"]["uri"] for record in records} == {f"/{number}" for number in range(REQUESTS)}
        assert len(records) == REQUESTS


def test_a_request_over_tls_says_so(upstream: Upstream, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    file = tmp_path / "file.log"
    with Gateway(start=False) as gateway:
        gateway.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        gateway.start()
        gateway.route(upstream.url)
        gateway.create("/plugins", name="file-log", config={"path": str(file)})
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        with closing(HTTPSConnection(LOOPBACK, port, timeout=30, context=unverified)) as client:
            for _ in range(2):
                client.request("GET", "/tls")
                assert client.getresponse().read() is not None
            assert client.sock is not None
            agreed = {"version": client.sock.version(), "cipher": client.sock.cipher()[0], "client_verify": "NONE"}
        gateway.get("/plain")
        wait_until(lambda: file.exists() and len(file.read_text().splitlines()) == 3)
        records = [json.loads(line)["request"] for line in file.read_text().splitlines()]
    assert [record.get("tls") for record in records] == [agreed, agreed, None]
    assert records[0]["url"] == f"https://{LOOPBACK}:{port}/tls"
