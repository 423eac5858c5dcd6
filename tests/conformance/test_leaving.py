"""Clients that leave, or break the rules, under a WSGI server of somebody else: an everyday thing for the gateway."""

from collections.abc import Iterator

import pytest

from tests.conformance.servers import WsgiGateway
from tests.gateway import Gateway
from tests.integration.support import MIB, blocks, head
from tests.upstream import Upstream, by_path, script
from tests.wire import wait_until

LARGE = script(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB), *blocks(MIB, 64 * MIB))


@pytest.fixture(scope="module")
def server() -> Iterator[WsgiGateway]:
    with Upstream(by_path({"/large": LARGE})) as upstream, Gateway() as node:
        node.route(upstream.url)
        node.route(upstream.url, paths=["/streamed"], request_buffering=False)
        with WsgiGateway("gunicorn-gevent", env={"sqlite_path": str(node.prefix / "kong.sqlite3")}) as made:
            yield made


@pytest.mark.parametrize("target", ["/?upload", "/large?download"])
def test_a_client_that_leaves_is_no_failure_of_the_application(server: WsgiGateway, target: str) -> None:
    with server.client(timeout=30) as client:
        client.send(head("POST", target, f"Content-Length: {0 if 'large' in target else 100_000}"))
        if "large" in target:
            client.stream.until(b"\r\n\r\n")
        else:
            client.send(b"x" * 50_000)

    def logged() -> str:
        server.get("/")  # requests are what has the log written
        return next((line for line in server.log("access.log").splitlines() if target in line), "")

    assert '" 499 ' in wait_until(logged)
    assert "Traceback" not in server.log("output")


@pytest.mark.parametrize("path", ["/", "/streamed"])
@pytest.mark.parametrize(
    "rest",
    [b"zz\r\n", b"3\r\nabcd\r\n", b"0\r\nnot a field\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n"],
    ids=["size", "end", "trailer", "forbidden"],
)
def test_a_body_that_breaks_the_rules_is_refused(server: WsgiGateway, path: str, rest: bytes) -> None:
    """The server that reads it says so in its own way, which must not leave anybody waiting."""
    with server.client(timeout=30) as client:
        client.send(head("POST", path, "Transfer-Encoding: chunked") + b"5\r\nabcde\r\n" + rest)
        assert client.answer().status == 400
