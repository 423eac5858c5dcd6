"""Mutated requests against a running gateway: it lives on, each gets an answer or an end, nothing slips through."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fuzz.mutate import mutations
from tests.fuzz.second_opinion import llhttp_requests
from tests.gateway import Gateway
from tests.http.runner import SENTINEL, load
from tests.upstream import Upstream, plain
from tests.wire import Answer, Ended, Request

CASES = 320
CORPUS = [
    fixture.raw
    for fixture in load("valid") + load("invalid")
    if b"HEAD " not in fixture.raw and len(fixture.raw) < 3000
]
"""Without HEAD: whoever sends garbage cannot tell which of the answers has no body."""
MARK = ("X-From-Upstream", "1")


@pytest.fixture(scope="module")
def recorder() -> Iterator[Upstream]:
    with Upstream(plain(b"ok", headers=[MARK])) as server:
        yield server


@pytest.fixture(scope="module")
def node(recorder: Upstream) -> Iterator[Gateway]:
    """A gateway that gives up on incomplete requests within a second."""
    impatient = {"client_header_timeout": "1", "client_body_timeout": "1", "keepalive_timeout": "1"}
    with Gateway(env=impatient) as gateway:
        gateway.route(recorder.url, service={"retries": 0}, strip_path=False, preserve_host=True)
        yield gateway


def play(node: Gateway, raw: bytes) -> list[Answer]:
    """Send these bytes and take every answer until the gateway closes; TimeoutError if it does neither."""
    with node.client(timeout=20) as client:
        client.send(raw)
        try:
            return client.answers()
        except Ended:
            return []  # closed in the middle of a head: an end as well


def check_received(request: Request) -> None:
    """What arrived is one plain request for a second strict reader, too."""
    framing = f"{request.method} {request.target} HTTP/1.1\r\n".encode("latin-1")
    seen, _ = llhttp_requests(request.raw_head + b"\r\n\r\n")
    assert request.raw_head.startswith(framing)
    assert len(seen) <= 1
    if seen and seen[0].start:
        assert seen[0].start[:2] == (request.method.encode(), request.target.encode("latin-1"))
    assert request.version == "1.1"
    assert request.all("via")[-1].endswith("kong/3.9.1")
    for name in ("x-consumer-id", "x_consumer_id", "content_length", "keep-alive", "proxy"):
        assert request.all(name) == []


def test_mutated_requests(node: Gateway, recorder: Upstream) -> None:
    workers = node.worker_pids()
    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(lambda raw: play(node, raw), mutations(7, CASES, CORPUS, longest=3000)))
    with node.client() as client:
        client.send(SENTINEL)
        assert client.answer().status == 200
    answers = [answer for outcome in outcomes for answer in outcome]
    served = [answer for answer in answers if answer.all(MARK[0])]
    assert {answer.status for answer in answers} <= {200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505}
    assert all(answer.status == 200 and answer.complete for answer in served)
    assert recorder.malformed == []
    received = recorder.requests[:-1]
    assert len(received) == len(served), "as many requests upstream as answers from there"
    for request in received:
        check_received(request)
    assert len(served) > CASES / 10 and len(answers) - len(served) > CASES / 10, "the mutations reach both sides"
    assert node.worker_pids() == workers, "no worker died"
