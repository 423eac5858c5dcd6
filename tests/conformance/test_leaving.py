"""Clients that leave under a WSGI server of somebody else: an everyday thing, of which the access log tells."""

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
