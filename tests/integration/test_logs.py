"""Access and error logs: formats, off, reopening, ids that join them, broken disks, secrets that stay out."""

import json
import re
import signal
from time import sleep
from typing import Any

from tests.gateway import Gateway
from tests.integration.support import ask, ask_once, client_of
from tests.upstream import Upstream, plain, script
from tests.wire import Client, wait_until

QUICK = {"drain_grace": "0.2"}

COMBINED = re.compile(
    r'(\S+) - - \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "(\S+) (\S+) (HTTP/1\.[01])" '
    r'(\d{3}) (\d+) "(.*?)" "(.*?)" kong_request_id: "([0-9a-f]{32})"'
)


def line_of(gateway: Gateway, mark: str, name: str = "access.log") -> str:
    """Wait for the line with this mark."""
    return wait_until(lambda: next((line for line in gateway.log(name).splitlines() if mark in line), ""))


def test_combined_access_log(gateway: Gateway, site: Any) -> None:
    path, _ = site(plain(b"hello"))
    reply = ask_once(gateway, "GET", path + "?first", 'User-Agent: my "agent"\\', "Referer: http://a.test/")
    match = COMBINED.fullmatch(line_of(gateway, "?first"))
    assert match
    assert match.group(1, 3, 4, 5, 6) == ("127.0.0.1", "GET", path + "?first", "HTTP/1.1", "200")
    assert match[8] == "http://a.test/"
    assert match[9] == r"my \x22agent\x22\x5C"
    assert match[10] == reply.get("x-kong-request-id")
    assert int(match[7]) >= len("hello")
    with gateway.client() as client:
        client.send(b"BROKEN\r\n\r\n")
        broken = client.answer()
    assert '" 400 ' in line_of(gateway, broken.get("x-kong-request-id") or "?")


def test_json_access_log(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(env={"proxy_access_log": "logs/access.log json"})
    route = gateway.route(upstream.url)
    reply = ask_once(gateway, "GET", '/?mark="', "User-Agent: ü")
    record = json.loads(line_of(gateway, "mark="))
    assert record["request_id"] == reply.get("x-kong-request-id")
    assert (record["method"], record["status"], record["route"]) == ("GET", 200, route["id"])
    assert record["upstream"] == [f"127.0.0.1:{upstream.port}"]


def test_access_log_off(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(env={**QUICK, "proxy_access_log": "off", "admin_access_log": "off"})
    gateway.route(upstream.url)
    assert ask_once(gateway, "GET", "/").status == 200
    gateway.stop()
    assert not (gateway.prefix / "logs" / "access.log").exists()
    assert not (gateway.prefix / "logs" / "admin_access.log").exists()


def test_ids_join_the_logs(make_gateway: Any, make_upstream: Any) -> None:
    gateway, upstream = make_gateway(env={"log_level": "debug"}), make_upstream(script(b"nonsense\r\n\r\n"))
    gateway.route(upstream.url)
    found = ask_once(gateway, "GET", "/").get("x-kong-request-id") or "?"
    assert '" 502 ' in line_of(gateway, found)
    assert line_of(gateway, found, "error.log")


def test_logs_are_reopened(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(workers=2, env=QUICK)
    gateway.route(upstream.url)
    logs = gateway.prefix / "logs"
    clients = [client_of(gateway, pid) for pid in gateway.worker_pids()]
    for client in clients:
        ask(client, "GET", "/?before")
    wait_until(lambda: gateway.log("access.log").count("?before") == 2)
    for name in ("access.log", "error.log"):
        (logs / name).rename(logs / f"{name}.1")
    gateway.send_signal(signal.SIGUSR1)
    wait_until(lambda: (logs / "access.log").exists() and (logs / "error.log").exists())
    wait_until(lambda: _both_log(gateway, clients))
    assert gateway.log("access.log.1").count("?before") == 2
    gateway.stop()
    assert "leaves" in gateway.log("error.log") or "Shutting down" in gateway.log("error.log")
    for client in clients:
        client.close()


def _both_log(gateway: Gateway, clients: list[Client]) -> bool:
    """Whether the lines of every worker arrive in the new file."""
    marks = [f"?after-{number}-" for number in range(len(clients))]
    for client, mark in zip(clients, marks, strict=True):
        ask(client, "GET", "/" + mark)
    sleep(0.3)
    text = gateway.log("access.log")
    return all(mark in text for mark in marks)


def test_a_log_that_cannot_be_written_stops_nothing(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway()
    gateway.route(upstream.url)
    log = gateway.prefix / "logs" / "access.log"
    ask_once(gateway, "GET", "/")
    wait_until(log.exists)
    log.unlink()
    log.mkdir()
    gateway.send_signal(signal.SIGUSR1)
    for _ in range(10):
        assert ask_once(gateway, "GET", "/").status == 200
    wait_until(lambda: "access.log" in gateway.log("error.log"))
    log.rmdir()
    assert ask_once(gateway, "GET", "/?back").status == 200
    wait_until(lambda: log.is_file() and "?back" in log.read_text())


SECRET = "very-secret-value"


def test_secrets_stay_out_of_logs_and_the_admin_api(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(
        env={**QUICK, "log_level": "debug", "pg_password": SECRET, "proxy_server": f"http://u:{SECRET}@127.0.0.1:1"}
    )
    route = gateway.route(upstream.url)
    gateway.create(f"/routes/{route['id']}/plugins", name="key-auth")
    gateway.create("/consumers", username="ann")
    gateway.create("/consumers/ann/key-auth", key=SECRET)
    assert ask_once(gateway, "GET", "/", f"apikey: {SECRET}", f"Authorization: Bearer {SECRET}").status == 200
    assert ask_once(gateway, "GET", "/", f"apikey: wrong-{SECRET}").status == 401
    shown = gateway.admin("GET", "/").text
    assert SECRET not in shown
    assert "******" in shown
    gateway.stop()
    for path in sorted((gateway.prefix / "logs").iterdir()):
        assert SECRET not in path.read_text(), path.name
    assert SECRET not in gateway.log("output")
