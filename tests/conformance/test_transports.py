"""One table of requests, played over every transport; answers and what the upstream received must be the same.

What WSGI cannot express is left out: interim answers (100, 103), trailers, tunnels, pipelining and the server's own way
to end a connection, and refusals of a head that the server reads itself (their bodies are the server's).
"""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.conformance.servers import WsgiGateway
from tests.gateway import Gateway
from tests.integration.support import chunks, head
from tests.upstream import CLOSE, Upstream, answer, by_path, chunked, echo, plain, script, slow
from tests.wire import Answer, Client, Ended, Request, wait_until

SERVERS = ("gunicorn-gevent", "gunicorn-gthread", "werkzeug")
OWN_FIELDS = {"connection", "keep-alive", "upgrade", "transfer-encoding", "content-length", "date", "server"}
"""Fields of the connection, the framing, the moment or the server itself, not of the answer."""
CHANGING = re.compile(rb"[0-9a-f]{32}|127\.0\.0\.1:\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}#\d+")
COUNTED = {
    "x-kong-proxy-latency",
    "x-kong-upstream-latency",
    "x-kong-response-latency",
    "ratelimit-reset",
    "retry-after",
}


@dataclass(frozen=True)
class Case:
    """A request: method, target, header lines, body (bytes, or a tuple of chunks)."""

    name: str
    method: str
    target: str
    lines: tuple[str, ...] = ()
    body: bytes | tuple[bytes, ...] = b""
    host: str = "api.test"

    def raw(self) -> bytes:
        """The bytes on the wire."""
        if isinstance(self.body, tuple):
            return head(self.method, self.target, "Transfer-Encoding: chunked", *self.lines, host=self.host) + chunks(
                *self.body
            )
        framing = [f"Content-Length: {len(self.body)}"] if self.body else []
        return head(self.method, self.target, *framing, *self.lines, host=self.host) + self.body


HTML, JSON = "Accept: text/html", "Accept: application/json"
CASES = [
    # routing
    Case("get", "GET", "/echo?a=1&b=%20"),
    Case("normalised", "GET", "/echo/%7Ex/../y//z?q"),
    Case("escapes", "GET", "/echo/%2f%C3%BC%20"),
    Case("empty-query", "GET", "/echo?"),
    Case("host", "GET", "/anything", host="only.test:8000"),
    Case("other-host", "GET", "/anything", host="none.test"),
    Case("regex", "GET", "/re/12/x"),
    Case("regex-misses", "GET", "/re/ab/x"),
    Case("method", "PUT", "/put-only", body=b"x"),
    Case("wrong-method", "GET", "/put-only"),
    Case("header", "GET", "/by-header", ("X-Version: 2",)),
    Case("wrong-header", "GET", "/by-header", ("X-Version: 3",)),
    Case("no-service", "GET", "/bare"),
    Case("https-only", "GET", "/secure"),
    Case("redirect", "GET", "/moved/x?y=1"),
    # methods and bodies
    Case("head", "HEAD", "/echo"),
    Case("head-of-404", "HEAD", "/nowhere"),
    Case("options", "OPTIONS", "/echo"),
    Case("delete", "DELETE", "/echo"),
    Case("own-method", "PURGE", "/echo"),
    Case("trace", "TRACE", "/echo", (JSON,)),
    Case("post", "POST", "/echo", ("Content-Type: text/plain",), b"hello"),
    Case("post-large", "POST", "/echo", (), b"0123456789" * 30_000),
    Case("post-unbuffered", "POST", "/unbuffered", (), b"0123456789" * 3_000),
    Case("post-chunked", "POST", "/echo", (), (b"hello ", b"world")),
    Case("post-chunked-large", "POST", "/unbuffered", (), (b"x" * 50_000, b"y" * 50_000)),
    Case("get-with-body", "GET", "/echo", (), b"why not"),
    Case("body-nobody-wants", "POST", "/nowhere", (), b"x" * 100),
    # fields
    Case(
        "fields",
        "GET",
        "/echo",
        ("X-A: 1", "Accept: a/b", "User-Agent: me", "Cookie: a=b; c=d", "Authorization: Basic eA=="),
    ),
    Case("hop-by-hop", "GET", "/echo", ("Keep-Alive: 5", "X-Mine: 1", "Upgrade: h2c")),
    Case("forwarding", "GET", "/echo", ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Real-IP: 1.1.1.1")),
    Case("identity", "GET", "/echo", ("X-Consumer-ID: root", "X-Anonymous-Consumer: true")),
    Case("via", "GET", "/echo", ("Via: 1.0 outer",)),
    # answers
    Case("chunked-answer", "GET", "/chunked"),
    Case("slow-answer", "GET", "/slow"),
    Case("until-close", "GET", "/until-close"),
    Case("no-content", "GET", "/204"),
    Case("not-modified", "GET", "/304"),
    Case("many-fields", "GET", "/fields"),
    Case("server-field", "GET", "/server"),
    Case("large-answer", "GET", "/large"),
    Case("reason", "GET", "/reason"),
    Case("text", "GET", "/text"),
    # errors
    Case("404", "GET", "/nowhere"),
    Case("404-html", "GET", "/nowhere", (HTML,)),
    Case("404-plain", "GET", "/nowhere", ("Accept: text/*",)),
    Case("502", "GET", "/broken"),
    Case("502-json", "GET", "/broken", (JSON,)),
    Case("502-by-content-type", "GET", "/broken", ("Content-Type: application/xml",)),
    Case("504", "GET", "/silent", (JSON,)),
    Case("refused", "GET", "/refused", (HTML,)),
    Case("unknown-name", "GET", "/unknown-name"),
    Case("target-with-fragment", "GET", "/echo#x"),
    # plugins
    Case("no-key", "GET", "/key"),
    Case("wrong-key", "GET", "/key", ("apikey: nope",)),
    Case("key", "GET", "/key", ("apikey: secret",)),
    Case("key-in-query", "GET", "/key?apikey=secret&x=1"),
    Case("correlation-id", "GET", "/correlated", ("Kong-Request-ID: mine",)),
    Case("terminated", "GET", "/terminated"),
    Case("terminated-head", "HEAD", "/terminated"),
    Case("cors-preflight", "OPTIONS", "/cors", ("Origin: http://a.test", "Access-Control-Request-Method: PUT")),
    Case("cors", "GET", "/cors", ("Origin: http://a.test",)),
    Case("too-large", "POST", "/small-only", (JSON,), b"x" * 1_100_000),
    Case("too-large-chunked", "POST", "/small-only", (JSON,), (b"x" * 600_000, b"y" * 600_000)),
    Case("forbidden", "GET", "/forbidden"),
    *[Case(f"limited-{number}", "GET", "/limited") for number in range(4)],
]

HANDLERS = {
    "/chunked": chunked(b"one", b"two" * 5_000),
    "/slow": slow(b"abcdef", 0.02, 2),
    "/until-close": script(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n", b"the end", CLOSE),
    "/204": script(answer(204, headers=[("X-A", "1")])),
    "/304": script(answer(304, headers=[("ETag", '"1"')])),
    "/fields": plain(
        b"x", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-B", ""), ("Connection", "X-C"), ("X-C", "1")]
    ),
    "/server": plain(
        b"x", headers=[("Server", "mine"), ("Via", "1.1 inner"), ("Date", "Tue, 15 Nov 1994 08:12:31 GMT")]
    ),
    "/large": plain(b"0123456789abcdef" * 20_000),
    "/reason": script(answer(418, b"x", reason="Short And Stout")),
    "/text": plain(b"x", headers=[("Content-Type", "text/plain")]),
    "/broken": script(b"nonsense\r\n\r\n"),
}


def configure(admin: Gateway, upstream: Upstream) -> None:
    """The routes and plugins of the table."""
    base = admin.create("/services", url=upstream.url, read_timeout=20_000, retries=0)["id"]

    def route(**fields: object) -> str:
        return str(admin.create(f"/services/{base}/routes", strip_path=False, **fields)["id"])

    def guarded(path: str, plugin: str, **config: object) -> None:
        admin.create(f"/routes/{route(paths=[path])}/plugins", name=plugin, config=config)

    route(paths=["/echo", *HANDLERS])
    route(hosts=["only.test"])
    route(paths=["~/re/\\d+/(?<rest>.*)"])
    route(paths=["/put-only"], methods=["PUT"])
    route(paths=["/by-header"], headers={"x-version": ["2"]})
    route(paths=["/unbuffered"], request_buffering=False, response_buffering=False)
    route(paths=["/secure"], protocols=["https"])
    route(paths=["/moved"], protocols=["https"], https_redirect_status_code=301)
    admin.create("/routes", paths=["/bare"])
    silent = admin.create("/services", url=upstream.url + "/silent", read_timeout=300, retries=0)["id"]
    admin.create(f"/services/{silent}/routes", paths=["/silent"])
    admin.route("http://127.0.0.1:1", paths=["/refused"], service={"retries": 1})
    admin.route(f"http://{'x' * 64}.test", paths=["/unknown-name"])
    guarded("/key", "key-auth")
    admin.create("/consumers", username="ann", custom_id="a-1")
    admin.create("/consumers/ann/key-auth", key="secret")
    guarded("/correlated", "correlation-id", echo_downstream=True)
    guarded("/terminated", "request-termination", status_code=451, message="gone")
    guarded("/cors", "cors", origins=["http://a.test"], credentials=True)
    guarded("/small-only", "request-size-limiting", allowed_payload_size=1)
    guarded("/forbidden", "ip-restriction", deny=["127.0.0.0/8"])
    guarded("/limited", "rate-limiting", hour=2, policy="local")


class Lab:
    """A node, its table, and the WSGI servers that share its store."""

    def __init__(self, stack: ExitStack) -> None:
        never = script()
        self.upstream = stack.enter_context(Upstream(by_path({**HANDLERS, "/silent": never}, echo)))
        self.node = stack.enter_context(Gateway(env={"db_update_frequency": "0.1"}))
        configure(self.node, self.upstream)
        store = {"sqlite_path": str(self.node.prefix / "kong.sqlite3"), "db_update_frequency": "0.1"}
        self.ports = {"gateway": self.node.proxy_port}
        self.nodes = {}
        for server in SERVERS:
            node = stack.enter_context(WsgiGateway(server, env=store))
            self.nodes[server] = node
            self.ports[server] = node.proxy_port
        self._cached: dict[str, tuple[object, object]] = {}

    def wanted(self, case: Case) -> tuple[object, object]:
        """What the gateway's own transport does with a case (asked once)."""
        if case.name not in self._cached:
            self._cached[case.name] = self.play("gateway", case)
        return self._cached[case.name]

    def play(self, transport: str, case: Case) -> tuple[object, object]:
        """The answer and what the upstream received, without what may differ."""
        self.upstream.clear()
        with Client(self.ports[transport], timeout=30) as client:
            client.send(case.raw())
            reply = client.answer(case.method)
        return seen_by_client(reply), [seen_by_upstream(request) for request in self.upstream.requests]


def steady(text: bytes) -> bytes:
    """Without ids, ports and connection numbers."""
    return CHANGING.sub(b"*", text)


def seen_by_client(reply: Answer) -> object:
    """What counts of an answer. Of an echo only that it is one: the request is compared where it arrived."""
    fields = [
        (name.lower(), "*" if name.lower() in COUNTED else steady(value.encode()))
        for name, value in reply.headers
        if name.lower() not in OWN_FIELDS
    ]
    body = b"echo" if reply.body.startswith(b'{"method": ') else steady(reply.body)
    return reply.status, reply.reason, sorted(fields), body, reply.complete


def seen_by_upstream(request: Request) -> object:
    """What counts of a request; names of fields are not case sensitive, and WSGI loses how they were written."""
    fields = sorted(
        (name.lower(), steady(value.encode())) for name, value in request.headers if name.lower() != "x-forwarded-port"
    )
    return request.method, request.target, fields, request.body, request.size


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack)


@pytest.mark.parametrize("transport", SERVERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_answer(lab: Lab, case: Case, transport: str) -> None:
    wanted = lab.wanted(case)
    assert lab.play(transport, case) == wanted


def test_the_table_covers_what_it_says(lab: Lab) -> None:
    """Guards the comparison itself: the cases have the outcomes that their names promise on the gateway's transport."""
    statuses = {case.name: lab.wanted(case)[0][0] for case in CASES}  # type: ignore[index]
    promised = {
        200: "get host regex method header head post post-chunked key cors large-answer limited-0 limited-1",
        204: "no-content",
        301: "redirect",
        304: "not-modified",
        400: "target-with-fragment",
        401: "no-key wrong-key",
        403: "forbidden",
        404: "404 other-host regex-misses wrong-method wrong-header head-of-404",
        405: "trace",
        413: "too-large too-large-chunked",
        418: "reason",
        426: "https-only",
        429: "limited-2 limited-3",
        451: "terminated",
        502: "502 refused",
        503: "no-service unknown-name",
        504: "504",
    }
    expected = {name: status for status, names in promised.items() for name in names.split()}
    assert {name: statuses[name] for name in expected} == expected


@pytest.mark.parametrize("transport", ("gateway", *SERVERS))
def test_a_cut_answer_is_not_taken_for_a_whole_one(lab: Lab, transport: str) -> None:
    path = f"/cut-{transport}"
    cut = script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", CLOSE)
    with Upstream(cut) as upstream:
        lab.node.route(upstream.url, paths=[path], service={"retries": 0})
        _until_routed(lab, transport, path)
        with Client(lab.ports[transport], timeout=30) as client:
            client.send(head("GET", path))
            try:
                assert not client.answer().complete
            except Ended:
                return


def _until_routed(lab: Lab, transport: str, path: str) -> None:
    def routed() -> bool:
        with Client(lab.ports[transport], timeout=30) as client:
            client.send(head("GET", path))
            try:
                return client.answer().status != 404
            except Ended:
                return True

    wait_until(routed)


@pytest.mark.parametrize("transport", SERVERS)
def test_changes_arrive(lab: Lab, transport: str) -> None:
    """A change on the node is seen under the WSGI server within its polling interval."""
    path = f"/new-{transport}"
    lab.node.route(lab.upstream.url, name=f"new-{transport}", paths=[path])
    _until_routed(lab, transport, path)
    lab.node.delete(f"/routes/new-{transport}")

    def gone() -> bool:
        with Client(lab.ports[transport], timeout=30) as client:
            client.send(head("GET", path))
            return client.answer().status == 404

    wait_until(gone)


@pytest.mark.parametrize("transport", ("gateway", *SERVERS))
def test_many_clients_at_a_time(lab: Lab, transport: str) -> None:
    """Each client gets the answer to its own question, also where the server has threads."""
    wrong: list[object] = []

    def work(number: int) -> None:
        targets = [f"/echo/{number}/{turn}" for turn in range(15)]
        try:
            while targets:
                with Client(lab.ports[transport], timeout=30) as client:
                    _ask_in_turn(client, targets)
        except (OSError, AssertionError, Ended) as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def _ask_in_turn(client: Client, targets: list[str]) -> None:
    """Ask for each target until the server closes the connection; those that are done are taken from the list."""
    while targets:
        client.send(head("GET", targets[0]))
        reply = client.answer()
        assert f'"target": "{targets[0]}"'.encode() in reply.body, reply
        targets.pop(0)
        if "close" in (reply.get("connection") or "").lower():
            return
