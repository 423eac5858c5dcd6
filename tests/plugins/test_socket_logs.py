"""tcp-log, udp-log, loggly and syslog: what goes over the wire, and sinks that are not there."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins import syslog
from tests.plugins.sinks import DatagramSink, LineSink
from tests.wire import wait_until

Make = Callable[..., InMemoryGateway]
HUGE = f"local a = kong.request.get_header('x-big') or '' return {' .. '.join('a' * 32)}"
"""32 times the header X-Big."""


@pytest.fixture
def lines() -> Iterator[LineSink]:
    with LineSink() as sink:
        yield sink


@pytest.fixture
def datagrams() -> Iterator[DatagramSink]:
    with DatagramSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=sink.test"
    key, made = folder / "key.pem", folder / "cert.pem"
    subprocess.run([*command.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made


class TestTcpLog:
    def test_each_record_is_a_line(self, plugin: Make, lines: LineSink) -> None:
        made = plugin("tcp-log", host="127.0.0.1", port=lines.port)
        for number in range(3):
            made.get(f"/{number}")
        made.flush()
        wait_until(lambda: len(lines.lines) == 3)
        assert [json.loads(line)["request"]["uri"] for line in lines.lines] == ["/0", "/1", "/2"]
        assert all(line.endswith("}\n") for line in lines.lines)

    def test_a_connection_is_kept(self, plugin: Make, lines: LineSink) -> None:
        made = plugin("tcp-log", host="127.0.0.1", port=lines.port)
        for number in range(2):
            made.get()
            made.flush()
            wait_until(lambda number=number: len(lines.lines) == number + 1)
        assert len(lines.connections) == 1

    def test_a_connection_that_ended_is_opened_anew(self, plugin: Make, lines: LineSink) -> None:
        made = plugin("tcp-log", host="127.0.0.1", port=lines.port)
        made.get("/1")
        made.flush()
        wait_until(lambda: lines.lines)
        for connection in lines.connections:
            connection.shutdown(2)
        made.get("/2")
        made.flush()
        wait_until(lambda: len(lines.lines) == 2)
        assert len(lines.connections) == 2

    def test_nothing_is_kept_without_keepalive(self, plugin: Make, lines: LineSink) -> None:
        made = plugin("tcp-log", host="127.0.0.1", port=lines.port, keepalive=0)
        for _ in range(2):
            made.get()
            made.flush()
        wait_until(lambda: len(lines.connections) == 2)

    def test_tls_with_a_server_name(self, plugin: Make, certificate: Path) -> None:
        with LineSink(certificate) as sink:
            made = plugin("tcp-log", host="127.0.0.1", port=sink.port, tls=True, tls_sni="sink.test")
            made.get("/tls")
            made.flush()
            wait_until(lambda: sink.lines)
            assert json.loads(sink.lines[0])["request"]["uri"] == "/tls"
            assert sink.names == ["sink.test"]

    def test_a_dead_server_costs_no_request(self, plugin: Make, caplog: pytest.LogCaptureFixture) -> None:
        made = plugin("tcp-log", host="127.0.0.1", port=1)
        assert made.get().status == 200
        made.flush()
        assert "failed to send to 127.0.0.1:1" in caplog.text
        assert "1 queue entries were lost" in caplog.text


class TestUdpLog:
    def test_each_record_is_a_datagram_without_line_end(self, plugin: Make, datagrams: DatagramSink) -> None:
        made = plugin("udp-log", host="127.0.0.1", port=datagrams.port, custom_fields_by_lua={"mine": "return 1"})
        made.get("/1")
        made.get("/2")
        made.flush()
        received = [datagrams.receive(), datagrams.receive()]
        assert [json.loads(datagram)["request"]["uri"] for datagram in received] == ["/1", "/2"]
        assert not received[0].endswith(b"\n")
        assert json.loads(received[0])["mine"] == 1

    def test_one_that_is_too_large_does_not_hold_up_others(
        self, plugin: Make, datagrams: DatagramSink, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = plugin(
            "udp-log",
            host="127.0.0.1",
            port=datagrams.port,
            custom_fields_by_lua={"big": HUGE},
        )
        made.get("/1", headers={"X-Big": "x" * 6000})
        made.get("/2")
        made.flush()
        assert json.loads(datagrams.receive())["request"]["uri"] == "/2"
        assert "Message too long. 1 queue entries were lost" in caplog.text

    def test_what_the_servers_machine_refuses_is_counted(
        self, plugin: Make, datagrams: DatagramSink, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = plugin("udp-log", host="127.0.0.1", port=datagrams.port)
        with datagrams:
            pass  # nobody listens any more
        for _ in range(3):
            assert made.get().status == 200
        made.flush()
        assert "Connection refused. 2 queue entries were lost" in caplog.text  # the last one is not known of yet

    def test_a_name_that_does_not_exist(self, plugin: Make, caplog: pytest.LogCaptureFixture) -> None:
        made = plugin("udp-log", host="nowhere.invalid", port=9)
        assert made.get().status == 200
        made.flush()
        assert "1 queue entries were lost" in caplog.text


class TestLoggly:
    def test_the_datagram(self, plugin: Make, datagrams: DatagramSink) -> None:
        made = plugin(
            "loggly",
            host="127.0.0.1",
            port=datagrams.port,
            key="k",
            tags=["a", "b"],
            successful_severity="notice",
        )
        made.get("/1")
        made.flush()
        match = re.fullmatch(
            rb'<13>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\S+) kong - - \[k@41058 tag="a" tag="b"\] (\{.*\})',
            datagrams.receive(),
        )
        assert match is not None
        assert match.group(1).decode() == made.kit.hostname
        assert json.loads(match.group(2))["request"]["uri"] == "/1"

    @pytest.mark.parametrize(
        ("severity", "number"),
        [
            *[("debug", 15), ("info", 14), ("notice", 13), ("warning", 12)],
            *[("err", 11), ("crit", 10), ("alert", 9), ("emerg", 8)],
        ],
    )
    def test_severities_have_their_numbers(
        self, plugin: Make, datagrams: DatagramSink, severity: str, number: int
    ) -> None:
        made = plugin(
            "loggly",
            host="127.0.0.1",
            port=datagrams.port,
            key="k",
            log_level="debug",
            client_errors_severity=severity,
        ).use("request-termination", status_code=404)
        made.get()
        made.flush()
        assert datagrams.receive().startswith(b"<%d>1 " % number)

    def test_tags_cannot_break_out_of_their_quotes(self, plugin: Make, datagrams: DatagramSink) -> None:
        made = plugin("loggly", host="127.0.0.1", port=datagrams.port, key="k", tags=['a" b="c', "\\]"])
        made.get()
        made.flush()
        assert rb'[k@41058 tag="a\" b=\"c" tag="\\\]"] {' in datagrams.receive()


class TestSyslog:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "log"

    @pytest.fixture
    def log_socket(self, path: Path) -> Iterator[DatagramSink]:
        with DatagramSink(path) as sink:
            yield sink

    @pytest.mark.parametrize(
        ("status", "facility", "number"),
        [(200, "user", 8 + 5), (404, "user", 8 + 4), (503, "user", 8 + 3), (200, "local7", 23 * 8 + 5)],
    )
    def test_severity_follows_the_status(
        self, plugin: Make, path: Path, log_socket: DatagramSink, status: int, facility: str, number: int
    ) -> None:
        made = plugin(
            "syslog",
            socket_path=str(path),
            successful_severity="notice",
            client_errors_severity="warning",
            server_errors_severity="err",
            facility=facility,
        ).use("request-termination", status_code=status)
        made.get("/1")
        made.flush()
        match = re.fullmatch(rb"<(\d+)>kong\[\d+\]: (\{.*\})", log_socket.receive())
        assert match is not None
        assert int(match.group(1)) == number
        assert json.loads(match.group(2))["response"]["status"] == status

    def test_less_than_the_level_is_not_sent(self, plugin: Make, path: Path, log_socket: DatagramSink) -> None:
        made = plugin("syslog", socket_path=str(path), log_level="warning", client_errors_severity="err")
        made.get("/quiet")
        made.use("request-termination", status_code=404)
        made.get("/told")
        made.flush()
        assert b"/told" in log_socket.receive()

    def test_without_a_daemon_requests_go_on(self, plugin: Make, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        made = plugin("syslog", socket_path=str(path))
        assert [made.get().status for _ in range(3)] == [200] * 3
        made.flush()
        assert "failed to write to" in caplog.text
        assert "3 queue entries were lost" in caplog.text

    def test_a_daemon_that_was_restarted_is_found_again(self, plugin: Make, path: Path) -> None:
        made = plugin("syslog", socket_path=str(path))
        with DatagramSink(path) as first:
            made.get("/1")
            made.flush()
            assert b"/1" in first.receive()
        path.unlink()
        with DatagramSink(path) as second:
            made.get("/2")
            made.flush()
            assert b"/2" in second.receive()

    def test_one_that_is_too_large_does_not_hold_up_others(
        self, plugin: Make, path: Path, log_socket: DatagramSink, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = plugin("syslog", socket_path=str(path), custom_fields_by_lua={"big": HUGE})
        made.get("/1", headers={"X-Big": "x" * 7000})
        made.get("/2")
        made.flush()
        assert b"/2" in log_socket.receive()
        assert "Message too long. 1 queue entries were lost" in caplog.text

    def test_a_daemon_that_does_not_read(
        self, plugin: Make, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syslog, "PATIENCE", 0.05)
        made = plugin("syslog", socket_path=str(path))
        with DatagramSink(path) as sink:
            sent = [made.get(f"/{number}").status for number in range(500)]
            made.flush()
            assert sent == [200] * 500
            assert b'"/0"' in sink.receive()
        lost = int(re.findall(r"timed out\. (\d+) queue entries were lost", caplog.text)[0])
        assert 0 < lost < 500


@pytest.mark.parametrize(
    ("name", "config", "fields"),
    [
        ("tcp-log", {}, {"host": "required field missing", "port": "required field missing"}),
        ("tcp-log", {"host": "a b", "port": 1}, {"host": "invalid value: a b"}),
        ("tcp-log", {"host": "a", "port": 70000}, {"port": "value should be between 0 and 65535"}),
        ("tcp-log", {"host": "a", "port": 1, "tls": "yes"}, {"tls": "expected a boolean"}),
        ("udp-log", {"port": 1}, {"host": "required field missing"}),
        ("loggly", {}, {"key": "required field missing"}),
        ("syslog", {"facility": "none"}, None),
        ("syslog", {"log_level": "error"}, None),
        ("loggly", {"key": "k", "log_level": "x"}, None),
    ],
)
def test_bad_settings_are_refused(
    plugin: Make, name: str, config: dict[str, Any], fields: dict[str, Any] | None
) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin(name, **config)
    assert fields is None or caught.value.fields == {"config": fields}
