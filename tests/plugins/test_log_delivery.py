"""Log plugins of a real node: sinks that are slow cost requests nothing, and what waits is sent before the end."""

import gc
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPSConnection
from pathlib import Path
from socket import create_server

import pytest

from kong_gevent.pdk.testing import InMemoryGateway
from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.plugins.sinks import DatagramSink, HttpSink, LineSink
from tests.upstream import Upstream
from tests.wire import wait_until

REQUESTS = 30
MANY = 20_000


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


def resident(pid: int) -> int:
    """Memory of a process in octets."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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


def quit_by_command(gateway: Gateway) -> None:
    """`kong-gevent quit`."""
    command = [sys.executable, "-m", "kong_gevent", "quit", "-p", str(gateway.prefix), "-t", "60"]
    done = subprocess.run(command, env=gateway.environment(), capture_output=True, text=True, check=False)
    assert done.stdout == "Kong stopped (gracefully)\n", done.stderr


@pytest.mark.parametrize("end", [Gateway.stop, quit_by_command], ids=["SIGTERM", "quit"])
def test_what_waits_is_sent_before_the_end(
    make_gateway: Callable[..., Gateway], upstream: Upstream, tmp_path: Path, end: Callable[[Gateway], object]
) -> None:
    gateway = make_gateway(workers=2)
    gateway.route(upstream.url)
    file, log = tmp_path / "file.log", tmp_path / "log"
    with ExitStack() as stack:
        posted, lines = stack.enter_context(HttpSink()), stack.enter_context(LineSink())
        udp, syslog, loggly = (stack.enter_context(DatagramSink(path)) for path in (None, log, None))
        queue = {"max_batch_size": 1000, "max_coalescing_delay": 3600}
        endpoint = f"http://{LOOPBACK}:{posted.port}/"
        gateway.create("/plugins", name="http-log", config={"http_endpoint": endpoint, "queue": queue})
        gateway.create("/plugins", name="tcp-log", config={"host": LOOPBACK, "port": lines.port})
        gateway.create("/plugins", name="udp-log", config={"host": LOOPBACK, "port": udp.port})
        gateway.create("/plugins", name="loggly", config={"host": LOOPBACK, "port": loggly.port, "key": "k"})
        gateway.create("/plugins", name="syslog", config={"socket_path": str(log)})
        gateway.create("/plugins", name="file-log", config={"path": str(file)})
        received: dict[str, list[bytes]] = {name: [] for name in ("udp", "syslog", "loggly")}
        for name, sink in (("udp", udp), ("syslog", syslog), ("loggly", loggly)):
            # The system log's socket holds no more than ten datagrams: somebody has to read.
            threading.Thread(target=sink.receive_all, args=(received[name],), daemon=True).start()
        for number in range(REQUESTS):
            assert gateway.get(f"/{number}", headers={"Connection": "close"}).status_code == 200
        assert posted.requests == []
        end(gateway)
        wait_until(lambda: {len(found) for found in (lines.lines, *received.values())} == {REQUESTS})
        found = {
            "http": [record for batch in posted.bodies for record in batch],
            "tcp": [json.loads(line) for line in lines.lines],
            "file": [json.loads(line) for line in file.read_text().splitlines()],
            **{name: [json.loads(text[text.index(b"{") :]) for text in texts] for name, texts in received.items()},
        }
    expected = sorted(f"/{number}" for number in range(REQUESTS))
    uris = {name: sorted(record["request"]["uri"] for record in records) for name, records in found.items()}
    assert uris == dict.fromkeys(uris, expected)


def test_dead_sinks_cost_no_request_and_bounded_memory(
    make_gateway: Callable[..., Gateway], silence: int, tmp_path: Path
) -> None:
    node = make_gateway()
    node.route(f"http://{LOOPBACK}:1")
    node.create("/plugins", name="prometheus")
    node.create("/plugins", name="request-termination", config={"status_code": 200})
    queue = {"max_batch_size": 100, "max_entries": 1000, "max_bytes": 8 << 20, "max_retry_time": 0}
    config = {"http_endpoint": f"http://{LOOPBACK}:{silence}/", "timeout": 600_000, "queue": queue}
    node.create("/plugins", name="http-log", config=config)
    node.create("/plugins", name="tcp-log", config={"host": LOOPBACK, "port": silence, "timeout": 600_000})
    (refusing,) = free_ports(1)
    node.create("/plugins", name="udp-log", config={"host": LOOPBACK, "port": refusing})
    node.create("/plugins", name="loggly", config={"host": LOOPBACK, "port": refusing, "key": "k"})
    node.create("/plugins", name="syslog", config={"socket_path": str(tmp_path / "none")})
    node.create("/plugins", name="file-log", config={"path": str(tmp_path / "missing" / "file.log")})
    (worker,) = node.worker_pids()
    asked = b"GET /%b HTTP/1.1\r\nHost: a.test\r\n\r\n" % (b"x" * 3000)
    before = resident(worker)
    for _ in range(MANY // 5000):
        with node.client(60) as client:
            for _ in range(100):
                client.send(asked * 50)
                assert {client.answer().status for _ in range(50)} == {200}
    # The records of all six take 1 GiB. What may wait: 32 MiB for tcp-log, 8 for http-log, and a batch of each.
    assert resident(worker) - before < 300 << 20
    # The last datagrams may have been refused without a word: the next one would have told.
    wait_until(lambda: lost(node).get("loggly", 0) >= MANY - 2 and lost(node).get("udp-log", 0) >= MANY - 2)
    wait_until(lambda: lost(node).get("syslog") == lost(node).get("file-log") == MANY)
    counted = lost(node)
    assert max(counted.values()) <= MANY
    assert MANY // 2 < counted["http-log"] < MANY
    assert 0 < counted["tcp-log"] < MANY
    assert len(node.log().splitlines()) < MANY
    assert node.stop() == 0
    assert len(re.findall(r"\d+ entries could not be sent before the end and were lost", node.log())) == 2


def test_queues_go_with_the_configurations_that_used_them() -> None:
    with LineSink() as sink, closing(InMemoryGateway()) as made:
        for number in range(3):
            made.use("tcp-log", host=LOOPBACK, port=sink.port)
            (entity,) = made.store.dao("plugins").each()
            made.get(f"/{number}")
            made.delete("plugins", entity["id"])
            made.get("/unheard")
        gc.collect()
        made.flush()
        wait_until(lambda: len(sink.lines) == 3)  # nothing that waited is lost with its queue
        gc.collect()
        assert not [name for name in made.kit._queues if name != "session"]


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
