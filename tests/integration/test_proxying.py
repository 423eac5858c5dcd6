"""Connections on both sides of the gateway: keep-alive, pipelining, old clients, the pool of upstream connections."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import MIB, ask, ask_once, head
from tests.upstream import CLOSE, Pause, Step, answer, by_path, echo, plain, script
from tests.wire import Request, wait_until

# clients


def test_keep_alive_is_the_default(gateway: Gateway, site: Any) -> None:
    path, _ = site()
    with gateway.client() as client:
        for number in range(50):
            reply = ask(client, "GET", f"{path}?{number}")
            assert reply.status == 200
            assert "close" not in (reply.get("connection") or "")
        last = ask(client, "GET", path, "Connection: close")
        assert last.get("connection") == "close"
        assert client.closed()


def test_pipelined_requests_are_answered_in_order(gateway: Gateway, site: Any) -> None:
    slow_one = script(Pause(0.3), answer(200, b"slow"))
    path, upstream = site(by_path({"/slow": slow_one}, lambda request: answer(200, request.target.encode())))
    with gateway.client() as client:
        posted = head("POST", path + "/posted", "Content-Length: 3") + b"abc"
        client.send(head("GET", path + "/slow") + posted + b"".join(head("GET", f"{path}/{n}") for n in range(100)))
        bodies = [client.answer().body for _ in range(102)]
    assert bodies == [b"slow", b"/posted", *(b"/%d" % number for number in range(100))]
    assert [request.method for request in upstream.requests[:3]] == ["GET", "POST", "GET"]


def test_pipelined_requests_behind_a_streamed_upload(gateway: Gateway, site: Any) -> None:
    path, upstream = site(request_buffering=False)
    with gateway.client() as client:
        client.send(head("PUT", path, f"Content-Length: {MIB}") + b"x" * MIB + head("GET", path + "/next"))
        assert json.loads(client.answer().body)["size"] == MIB
        assert json.loads(client.answer().body)["target"] == "/next"


def test_pipelined_requests_behind_an_error(gateway: Gateway, site: Any) -> None:
    path, _ = site()
    with gateway.client() as client:
        client.send(head("GET", "/nowhere") + head("POST", "/nowhere", "Content-Length: 2") + b"ab" + head("GET", path))
        assert [client.answer().status for _ in range(3)] == [404, 404, 200]


def test_http_1_0(gateway: Gateway, site: Any) -> None:
    path, upstream = site(plain(b"old"))
    with gateway.client() as client:
        reply = ask(client, "GET", path, version="1.0")
        assert (reply.status, reply.body) == (200, b"old")
        assert client.closed()
    with gateway.client() as client:
        for _ in range(3):
            reply = ask(client, "GET", path, "Connection: keep-alive", version="1.0")
            assert (reply.body, (reply.get("connection") or "").lower()) == (b"old", "keep-alive")
        assert ask(client, "GET", path, host=None, version="1.0").body == b"old"
        assert client.closed()
    assert upstream.requests[0].version == "1.1", "we speak HTTP/1.1 to the upstream"


def test_http_1_0_client_of_a_chunked_answer(gateway: Gateway, site: Any) -> None:
    path, _ = site(script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
    with gateway.client() as client:
        reply = ask(client, "GET", path, "Connection: keep-alive", version="1.0")
        assert (reply.framing, reply.body) == ("close", b"abcde")


def test_keepalive_settings(make_gateway: Any) -> None:
    gateway = make_gateway(env={"keepalive_requests": "3", "keepalive_timeout": "1"})
    with gateway.client() as client:
        kept = [(ask(client, "GET", "/").get("connection") or "").lower() for _ in range(3)]
        assert kept[-1] == "close"
        assert "close" not in kept[:2]
        assert client.closed()
    with gateway.client() as client:
        assert ask(client, "GET", "/").status == 404
        assert client.closed(), "an idle connection ends by itself"


def test_client_too_slow_for_its_head_or_body(make_gateway: Any, make_upstream: Any) -> None:
    gateway, upstream = make_gateway(env={"client_header_timeout": "1", "client_body_timeout": "1"}), make_upstream()
    gateway.route(upstream.url)
    with gateway.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a")
        reply = client.answer()
        assert (reply.status, b"Request timeout" in reply.body) == (408, True)
        assert client.closed()
    for framing in ("Content-Length: 10", "Transfer-Encoding: chunked", "Content-Length: 1000000"):
        with gateway.client() as client:
            client.send(head("POST", "/", framing) + b"3\r\nabc")
            assert client.answer().status == 408
            assert client.closed()
    with gateway.client() as client:
        assert client.closed(), "a connection that never says anything ends too"
    assert upstream.requests == []


# limits


@pytest.mark.parametrize(
    ("lines", "status", "message"),
    [
        (("GET /" + "x" * 9000 + " HTTP/1.1",), 414, b"URI too long"),
        (("GET / HTTP/1.1", "X-Long: " + "x" * 33_000), 400, b"Request header or cookie too large"),
        (("GET / HTTP/1.1", *(f"X-{n}: {'x' * 1000}" for n in range(40))), 400, b"Request header or cookie too large"),
    ],
)
def test_heads_that_are_too_large(gateway: Gateway, lines: tuple[str, ...], status: int, message: bytes) -> None:
    with gateway.client() as client:
        client.send("\r\n".join([lines[0], "Host: a.test", *lines[1:], "", ""]).encode())
        reply = client.answer()
        assert (reply.status, message in reply.body) == (status, True)
        assert client.closed()


def test_heads_of_nearly_all_that_is_allowed(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    long = "x" * 7900
    with gateway.client() as client:
        reply = ask(client, "GET", f"{path}/{long}", *(f"X-{number}: {long}" for number in range(2)))
        assert reply.status == 200
    assert upstream.requests[0].target == f"/{long}"
    assert upstream.requests[0].get("x-1") == long


# upstream connections


def test_upstream_connections_are_used_again(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    with gateway.client() as client:
        for method in ("GET", "HEAD", "GET", "DELETE"):
            assert ask(client, method, path).status == 200
        for _ in range(3):
            assert ask(client, "POST", path, body=b"x" * 20_000).status == 200
    assert ask_once(gateway, "GET", path).status == 200
    assert {request.connection for request in upstream.requests} == {1}


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"a", [("Connection", "close")]),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
    ],
    ids=["close", "1.0", "more-than-promised", "more-than-nothing"],
)
def test_upstream_connections_that_are_not_used_again(gateway: Gateway, site: Any, reply: bytes) -> None:
    path, upstream = site(script(reply))
    for _ in range(3):
        assert ask_once(gateway, "GET", path).complete
    assert upstream.accepted == 3
    wait_until(lambda: upstream.open == 0)


def test_answers_of_services_on_one_address_do_not_mix(gateway: Gateway, site: Any) -> None:
    """Many clients at a time over shared upstream connections: each gets the answer to its own question."""
    path, upstream = site(lambda request: [Pause(0.001), answer(200, request.target.encode())])
    wrong: list[bytes] = []

    def work(number: int) -> None:
        with gateway.client(timeout=30) as client:
            for turn in range(40):
                target = f"/{number}/{turn}".encode()
                body = ask(client, "GET", path + target.decode()).body
                if body != target:
                    wrong.append(body)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(upstream.requests) == 800
    assert upstream.accepted < 100


@pytest.mark.parametrize(
    ("env", "reused"),
    [({"upstream_keepalive_pool_size": "0"}, False), ({"upstream_keepalive_max_requests": "2"}, True), ({}, True)],
    ids=["pool-0", "max-requests-2", "defaults"],
)
def test_pool_settings(make_gateway: Any, make_upstream: Any, env: dict[str, str], reused: bool) -> None:
    gateway, upstream = make_gateway(env={**env, "upstream_keepalive_idle_timeout": "1"}), make_upstream()
    gateway.route(upstream.url)
    for _ in range(4):
        assert gateway.get("/").status_code == 200
    connections = [request.connection for request in upstream.requests]
    if not reused:
        assert connections == [1, 2, 3, 4]
    elif env:
        assert connections == [1, 1, 2, 2]
    else:
        assert connections == [1, 1, 1, 1]
    wait_until(lambda: upstream.open == 0)
    assert gateway.get("/").status_code == 200


def test_connections_that_the_upstream_has_closed_while_idle(gateway: Gateway, site: Any) -> None:
    path, upstream = site(service={"retries": 0})
    for method in ("GET", "POST", "GET", "POST"):
        assert ask_once(gateway, method, path).status == 200
        upstream.drop_connections()
        wait_until(lambda: upstream.open == 0)
    assert len(upstream.requests) == 4


@pytest.mark.parametrize("behind", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"], ids=["byte", "answer"])
@pytest.mark.parametrize("begun", [b"", b"hel"], ids=["head", "head-and-part"])
def test_a_connection_with_bytes_behind_the_answer_is_not_used_again(
    gateway: Gateway, site: Any, begun: bytes, behind: bytes
) -> None:
    """The end of the body and what is behind it come with one read, which is not the one of the head."""
    whole = answer(200, b"hello")
    first = len(whole) - len(b"hello") + len(begun)
    path, upstream = site(script(whole[:first], Pause(0.3), whole[first:] + behind))
    for number in (1, 2):
        assert ask_once(gateway, "GET", path).body == b"hello"
        wait_until(lambda: upstream.open == 0)
        assert upstream.accepted == number


def once_per_connection() -> Callable[[Request], Iterable[Step]]:
    """Answers the first request of each connection; at the second one it closes without a word."""
    seen: set[int] = set()

    def steps(request: Request) -> Iterable[Step]:
        if request.connection in seen:
            return [CLOSE]
        seen.add(request.connection)
        return [echo(request)]

    return steps


def test_a_kept_connection_that_dies_under_a_request(gateway: Gateway, site: Any) -> None:
    """Even without retries: a connection that turns out to be dead says nothing about the upstream."""
    path, upstream = site(once_per_connection(), service={"retries": 0})
    assert ask_once(gateway, "GET", path).status == 200
    assert ask_once(gateway, "GET", path).status == 200
    assert [request.connection for request in upstream.requests] == [1, 1, 2]
    posted = ask_once(gateway, "POST", path, body=b"pay once")
    assert posted.status == 502, "the upstream may have acted on it"
    assert [request.method for request in upstream.requests] == ["GET", "GET", "GET", "POST"]


def test_methods_pass_through(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE"):
        assert ask_once(gateway, method, path).status == 200
        assert upstream.requests[-1].method == method
    for method in ("TRACE", "CONNECT"):
        reply = ask_once(gateway, method, path, "Accept: application/json")
        assert (reply.status, json.loads(reply.body)["message"]) == (405, "Method not allowed")


def test_upstream_statuses_and_fields_pass_through(gateway: Gateway, site: Any) -> None:
    fields = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-A", "1"), ("Vary", "a"), ("X-A", "2"), ("X_Under", "u")]
    path, _ = site(
        by_path(
            {
                "/500": script(answer(500, b"mine", fields, "Custom Reason")),
                "/999": script(answer(599, b"", fields, "")),
                "/302": script(answer(302, b"", [("Location", "http://internal:81/x")], "Found")),
            }
        )
    )
    reply = ask_once(gateway, "GET", path + "/500")
    assert (reply.status, reply.reason, reply.body) == (500, "Custom Reason", b"mine")
    assert reply.all("set-cookie") == ["a=1", "b=2"]
    assert reply.all("x-a") == ["1", "2"]
    assert reply.get("x_under") == "u"
    assert ask_once(gateway, "GET", path + "/999").status == 599
    assert ask_once(gateway, "GET", path + "/302").get("location") == "http://internal:81/x"


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("text/html", "text/html; charset=UTF-8"),
        ("text/plain", "text/plain; charset=UTF-8"),
        ("application/javascript", "application/javascript; charset=UTF-8"),
        ("text/html; charset=latin1", "text/html; charset=latin1"),
        ("text/html; x=1", "text/html; x=1; charset=UTF-8"),
        ("application/json", "application/json"),
        ("image/png", "image/png"),
    ],
)
def test_charset(gateway: Gateway, site: Any, sent: str, received: str) -> None:
    path, _ = site(plain(b"x", headers=[("Content-Type", sent)]))
    assert ask_once(gateway, "GET", path).all("content-type") == [received]
