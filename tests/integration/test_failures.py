"""Upstreams that refuse, hang, break off or cannot be found: which status, how many tries, whose turn is next."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, free_ports
from tests.integration.support import MIB, ask, ask_once, chunks, head
from tests.upstream import CLOSE, RESET, Pause, Step, Upstream, answer, echo, plain, script
from tests.wire import Answer, Request, wait_until

JSON = "Accept: application/json"
MESSAGES = {
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable",
    504: "The upstream server is timing out",
}


def failed(reply: Answer, status: int) -> None:
    """The answer is the gateway's own with Kong's message, and complete."""
    body = json.loads(reply.body)
    assert (reply.status, body["message"]) == (status, MESSAGES[status])
    assert body["request_id"] == reply.get("x-kong-request-id")
    assert reply.get("server") == "kong/3.9.1"


@contextmanager
def deaf() -> Iterator[int]:
    """A port on which connections are neither accepted nor refused."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = server.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "hosts"
    path.write_text("127.0.0.2 pair.test # dead\n127.0.0.3 pair.test\n127.0.0.2 dead.test\n127.0.0.2 three.test\n")
    with path.open("a") as file:
        file.write("127.0.0.4 three.test\n127.0.0.3 three.test\n127.0.0.3 alive.test\n")
    return path


@pytest.fixture(scope="module")
def gateway(names: Path) -> Iterator[Gateway]:
    with Gateway(env={"dns_hostsfile": str(names)}) as node:
        yield node


# timeouts: below a second there is a timer for each wait, above it a sweeper


@pytest.mark.parametrize("timeout", [200, 1200])
def test_connect_timeout(gateway: Gateway, timeout: int) -> None:
    with deaf() as port:
        service = {"connect_timeout": timeout, "retries": 0}
        gateway.route(f"http://127.0.0.1:{port}", service=service, paths=[f"/connect{timeout}"])
        failed(ask_once(gateway, "GET", f"/connect{timeout}", JSON), 504)


@pytest.mark.parametrize("timeout", [200, 1200])
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Half: a"], ids=["silent", "half-a-head"])
def test_read_timeout(gateway: Gateway, site: Any, timeout: int, start: bytes) -> None:
    path, upstream = site(script(start, Pause(20)), service={"read_timeout": timeout, "retries": 0})
    with gateway.client() as client:
        failed(ask(client, "GET", path, JSON), 504)
        assert ask(client, "GET", "/nowhere").status == 404, "the client's connection goes on"
        client.send(head("POST", path, JSON, "Content-Length: 100000") + b"x" * 100_000)
        failed(client.answer(), 504)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("timeout", [200, 1200])
def test_read_timeout_within_the_answer(gateway: Gateway, site: Any, timeout: int) -> None:
    steps = (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Pause(20))
    path, _ = site(script(*steps), service={"read_timeout": timeout})
    reply = ask_once(gateway, "GET", path)
    assert (reply.status, reply.complete) == (200, False)


@pytest.mark.parametrize("timeout", [200, 1200])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_write_timeout(gateway: Gateway, site: Any, timeout: int, framing: str) -> None:
    """The upstream never reads the body: what does not fit into the kernel's buffers waits in vain."""
    path, upstream = site(
        service={"write_timeout": timeout, "read_timeout": 20_000, "retries": 3},
        server={"early": lambda _: [Pause(20)]},
    )
    with gateway.client(timeout=30) as client:
        client.send(
            head(
                "PUT",
                path,
                JSON,
                "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {64 * MIB}",
            )
        )
        client.sock.setblocking(False)
        _send_what_fits(client.sock, 64 * MIB, framing)
        client.sock.settimeout(30)
        failed(client.answer(), 504)
    assert upstream.accepted == 1, "a streamed body cannot be sent a second time"


def _send_what_fits(sock: socket.socket, limit: int, framing: str) -> None:
    """Fill all buffers on the way: send until nothing has been taken for a while."""
    block = b"x" * 65_536
    data = chunks(block)[: -len(b"0\r\n\r\n")] if framing == "chunked" else block
    view = memoryview(data)
    sock.settimeout(2)
    sent = 0
    while sent < limit:
        try:
            taken = sock.send(view)
        except (TimeoutError, ConnectionError):
            return
        sent += taken
        view = view[taken:] or memoryview(data)


def test_a_slow_answer_within_its_limits_is_no_timeout(gateway: Gateway, site: Any) -> None:
    """The limit is on each wait, not on the whole."""
    pieces = [step for _ in range(8) for step in (Pause(0.2), b"x")]
    path, _ = site(script(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", *pieces), service={"read_timeout": 700})
    reply = ask_once(gateway, "GET", path)
    assert (reply.body, reply.complete) == (b"x" * 8, True)


# retries


def flaky(*failure: Step, times: int = 2) -> Callable[[Request], Iterable[Step]]:
    """Fail the first ``times`` requests, then echo."""
    count = 0

    def steps(request: Request) -> Iterable[Step]:
        nonlocal count
        count += 1
        return failure if count <= times else [echo(request)]

    return steps


SAFE = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
UNSAFE = ("POST", "PATCH", "LOCK")


@pytest.mark.parametrize(
    "failure", [(CLOSE,), (RESET,), (b"HTTP/1.1 200 OK\r\nX-Half", CLOSE)], ids=["close", "reset", "half"]
)
@pytest.mark.parametrize("method", SAFE)
def test_broken_connections_are_tried_again(
    gateway: Gateway, site: Any, method: str, failure: tuple[Step, ...]
) -> None:
    path, upstream = site(flaky(*failure), service={"retries": 2})
    reply = ask_once(gateway, method, path, body=b"the body" if method == "PUT" else b"")
    assert reply.status == 200
    assert [request.method for request in upstream.requests] == [method] * 3
    if method == "PUT":
        assert [request.body for request in upstream.requests] == [b"the body"] * 3


@pytest.mark.parametrize("failure", [(CLOSE,), (RESET,)], ids=["close", "reset"])
@pytest.mark.parametrize("method", UNSAFE)
def test_unsafe_methods_are_sent_once(gateway: Gateway, site: Any, method: str, failure: tuple[Step, ...]) -> None:
    path, upstream = site(flaky(*failure), service={"retries": 5})
    failed(ask_once(gateway, method, path, JSON, body=b"pay"), 502)
    assert len(upstream.requests) == 1


def test_tries_are_counted(gateway: Gateway, site: Any) -> None:
    path, upstream = site(script(CLOSE), service={"retries": 3})
    failed(ask_once(gateway, "GET", path, JSON), 502)
    assert len(upstream.requests) == 4
    path, upstream = site(script(CLOSE), service={"retries": 0})
    failed(ask_once(gateway, "GET", path, JSON), 502)
    assert len(upstream.requests) == 1


def test_timeouts_are_tried_again_unless_unsafe(gateway: Gateway, site: Any) -> None:
    service = {"retries": 2, "read_timeout": 200}
    path, upstream = site(flaky(Pause(2)), service=service)
    assert ask_once(gateway, "GET", path).status == 200
    assert upstream.accepted == len(upstream.requests) == 3
    path, upstream = site(script(Pause(2)), service=service)
    failed(ask_once(gateway, "POST", path, JSON, body=b"pay"), 504)
    assert upstream.accepted == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
    ],
    ids=["no-status", "bad-field", "bad-length"],
)
def test_malformed_answers_are_never_tried_again(gateway: Gateway, site: Any, reply: bytes) -> None:
    path, upstream = site(script(reply, CLOSE), service={"retries": 5})
    failed(ask_once(gateway, "GET", path, JSON), 502)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [404, 500, 502, 503, 504])
def test_statuses_are_never_tried_again(gateway: Gateway, site: Any, status: int) -> None:
    path, upstream = site(plain(b"mine", status), service={"retries": 5})
    reply = ask_once(gateway, "GET", path)
    assert (reply.status, reply.body) == (status, b"mine")
    assert len(upstream.requests) == 1


def test_a_streamed_body_is_never_sent_again(gateway: Gateway, site: Any) -> None:
    path, upstream = site(script(CLOSE), service={"retries": 5}, request_buffering=False)
    failed(ask_once(gateway, "PUT", path, JSON, body=b"x" * 20_000), 502)
    assert upstream.accepted == 1


def test_refused(gateway: Gateway) -> None:
    (port,) = free_ports(1)
    gateway.route(f"http://127.0.0.1:{port}", paths=["/refused"])
    for method in ("GET", "POST"):
        failed(ask_once(gateway, method, "/refused", JSON), 502)
    with gateway.client() as client:
        for _ in range(3):
            failed(ask(client, "GET", "/refused", JSON), 502)


# names


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_next_address_is_tried(gateway: Gateway, method: str) -> None:
    """Two addresses, one dead: every request succeeds, also a POST, since it was never sent to the dead one."""
    with Upstream(host="127.0.0.3") as upstream:
        gateway.route(f"http://pair.test:{upstream.port}", service={"retries": 1}, paths=[f"/pair{method}"])
        for _ in range(6):
            assert ask_once(gateway, method, f"/pair{method}").status == 200
        assert len(upstream.requests) == 6
        assert upstream.requests[0].get("host") == f"pair.test:{upstream.port}"


def test_the_next_address_is_tried_by_many_at_once(gateway: Gateway) -> None:
    """Requests that run at the same time do not lead each other to the dead address again."""
    with Upstream(script(Pause(0.01), answer(200, b"ok", [("Connection", "close")])), host="127.0.0.3") as upstream:
        gateway.route(f"http://pair.test:{upstream.port}", service={"retries": 1}, paths=["/many"])
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda _: ask_once(gateway, "GET", "/many").status, range(200)))
    assert statuses == {200}


def test_addresses_take_turns(gateway: Gateway) -> None:
    with Upstream(host="127.0.0.3") as first, Upstream(host="127.0.0.4", port=first.port) as second:
        gateway.route(f"http://three.test:{first.port}", service={"retries": 2}, paths=["/three"])
        for _ in range(9):
            assert ask_once(gateway, "GET", "/three").status == 200
        assert len(first.requests) + len(second.requests) == 9
        assert first.requests
        assert second.requests


def test_too_few_tries_for_the_dead_address(gateway: Gateway) -> None:
    with Upstream(host="127.0.0.3") as upstream:
        gateway.route(f"http://pair.test:{upstream.port}", service={"retries": 0}, paths=["/pair0"])
        statuses = {ask_once(gateway, "GET", "/pair0").status for _ in range(8)}
    assert statuses == {200, 502}


def test_name_without_address(gateway: Gateway) -> None:
    gateway.route(f"http://{'x' * 64}.test", paths=["/lost"])
    reply = ask_once(gateway, "GET", "/lost")
    assert (reply.status, json.loads(reply.body)["message"]) == (503, "name resolution failed")


def test_names_change_their_addresses(names: Path, make_gateway: Any) -> None:
    hosts = names.with_name("moving")
    hosts.write_text("127.0.0.2 moving.test\n")
    gateway = make_gateway(env={"dns_hostsfile": str(hosts), "dns_valid_ttl": "1"})
    with (
        Upstream(plain(b"old"), host="127.0.0.2") as old,
        Upstream(plain(b"new"), host="127.0.0.3", port=old.port) as new,
    ):
        gateway.route(f"http://moving.test:{old.port}")
        assert gateway.get("/").content == b"old"
        hosts.write_text("127.0.0.3 moving.test\n")
        wait_until(lambda: gateway.get("/").content == b"new")
        assert new.requests


def test_the_gateway_itself_goes_on(gateway: Gateway, site: Any) -> None:
    """After all of the above there is still the same worker, and nothing was raised in it."""
    path, _ = site(script(answer(200, b"fine")))
    assert ask_once(gateway, "GET", path).body == b"fine"
    assert "Traceback" not in gateway.log()
