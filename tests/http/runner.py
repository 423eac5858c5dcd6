"""Plays fixture files against a listening gateway; any transport will do, only a port is needed.

lab = Lab.build(admin=gateway, port=gateway.proxy_port)
for fixture in load("valid"): lab.play_request(fixture)
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.gateway import Gateway
from tests.upstream import CLOSE, Step, Upstream, plain
from tests.wire import Answer, Client, Request, wait_until

HERE = Path(__file__).resolve().parent
SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
"""A good request sent last: when it has been answered, all that came before it has been dealt with."""


@dataclass(frozen=True)
class Fixture:
    """One ``.http`` file with its expectation."""

    name: str
    kind: str
    raw: bytes
    expected: dict[str, Any]


def load(kind: str) -> list[Fixture]:
    """The fixtures of a folder: ``valid``, ``invalid``, ``answers/valid`` or ``answers/invalid``."""
    return [
        Fixture(path.stem, kind, path.read_bytes(), json.loads(path.with_suffix(".json").read_text()))
        for path in sorted((HERE / kind).glob("*.http"))
    ]


def pieces(raw: bytes, size: int) -> list[bytes]:
    """``raw`` in pieces of ``size`` bytes, or whole."""
    return [raw[start : start + size] for start in range(0, len(raw), size)] if size else [raw]


def check_headers(message: Request | Answer, expected: dict[str, Any]) -> None:
    """Compare the fields that the expectation names; None means absent, a text one value of it, a list all values."""
    for name, value in expected.items():
        found = message.all(name)
        if value is None:
            assert found == [], f"{name} should be absent"
        elif isinstance(value, list):
            assert found == value, f"all values of {name}"
        else:
            assert value in found, f"a value of {name}"


def check_forwarded(received: list[Request], expected: list[dict[str, Any]]) -> None:
    """Compare what the upstream received with the expectation, request by request."""
    shown = [(request.method, request.target) for request in received]
    assert shown == [(wanted["method"], wanted["target"]) for wanted in expected]
    for request, wanted in zip(received, expected, strict=True):
        assert request.body == wanted.get("body", "").encode("latin-1")
        check_headers(request, wanted.get("headers", {}))
        trailers = {name.lower() for name, _ in request.trailers}
        assert not trailers & set(wanted.get("absent_trailers", ()))


class Lab:
    """The configuration of the fixtures: three routes to one recording upstream, one service for the answers.

    ``foreign``: the fixtures go to a node behind a foreign WSGI server. That server reads heads and chunks before the
    gateway does and has its own words for a refusal; whether a connection stays open is its business, too. Such a node
    learns of changes a little later.
    """

    def __init__(self, port: int, upstream: Upstream, admin: Gateway, service: str) -> None:
        self.port, self.upstream, self.admin, self.service = port, upstream, admin, service
        self.foreign = False

    @classmethod
    def build(cls, admin: Gateway, port: int | None = None) -> Self:
        """Configure the node ``admin``; ``port`` is where the fixtures are sent (default: its proxy listener)."""
        upstream = Upstream(plain(b"ok"))
        as_sent = {"strip_path": False, "preserve_host": True}
        admin.route(upstream.url, service={"retries": 0}, paths=["/"], **as_sent)
        admin.route(upstream.url + "/zone", service={"retries": 0}, paths=["/private"], **as_sent)
        admin.route(upstream.url + "/other", service={"retries": 0}, hosts=["other.test"], **as_sent)
        scripted = {"name": "scripted", "retries": 0, "read_timeout": 5000}
        admin.route(upstream.url, service=scripted, paths=["/scripted"], hosts=["answers.test"])
        return cls(port or admin.proxy_port, upstream, admin, "scripted")

    def close(self) -> None:
        """Stop the upstream."""
        self.upstream.close()

    # requests

    def play_request(self, fixture: Fixture, size: int = 0) -> None:
        """Send a request fixture (in pieces of ``size`` bytes); AssertionError unless everything is as expected."""
        self.upstream.clear()
        expected = fixture.expected
        with Client(self.port) as client:
            for piece in pieces(fixture.raw, size):
                client.send(piece)
            if expected.get("ends") or (self.foreign and expected["closes"]):
                client.end()
            methods = [request["method"] for request in expected["forwarded"]]
            if expected["closes"]:
                answers = client.answers(methods)
            else:
                answers = [client.answer(method) for method in methods]
                client.send(SENTINEL)
                assert client.answer().status == 200, "the connection is good for another request"
                assert client.closed()
        self._check_answers(answers, expected)
        self._check_upstream(fixture, sentinel=not expected["closes"])

    def _check_answers(self, answers: list[Answer], expected: dict[str, Any]) -> None:
        statuses = [answer.status for answer in answers]
        refused_by = expected.get("refused_by")
        assert all(answer.complete for answer in answers)
        if self.foreign and refused_by in ("head", "chunks"):
            good = [status for status in expected["answers"] if status < 400]
            assert statuses[: len(good)] == good
            assert len(statuses) <= len(good) + 1, "nothing is answered after a refusal"
            assert all(status >= 400 for status in statuses[len(good) :]), "a refusal"
            return
        assert statuses == expected["answers"]
        if refused_by and answers and not self.foreign:
            assert "close" in (answers[-1].get("connection") or "").lower(), "a refusal announces the end"

    def _check_upstream(self, fixture: Fixture, *, sentinel: bool) -> None:
        if not sentinel:
            with Client(self.port) as client:
                client.send(SENTINEL)
                assert client.answer().status == 200, "the gateway serves on"
        received = list(self.upstream.requests)
        assert received and received.pop().target == "/sentinel", "the last request is the sentinel"
        check_forwarded(received, fixture.expected["forwarded"])
        assert self.upstream.malformed == []
        if fixture.kind == "valid":
            assert self.upstream.aborted == []

    # answers

    def play_answer(self, fixture: Fixture, size: int = 0) -> None:
        """Let an upstream of its own play the fixture (in pieces of ``size`` bytes).

        AssertionError unless the client gets what is expected.
        """
        expected = fixture.expected
        script: list[Step] = [*pieces(fixture.raw, size), *([CLOSE] if expected["ends"] else [])]

        def respond(request: Request) -> bytes | Iterable[Step]:
            return script if request.target == "/fixture" else plain(b"again")(request)

        with Upstream(respond) as upstream:
            self.admin.change(f"/services/{self.service}", port=upstream.port)
            if self.foreign:
                wait_until(lambda: self._again() == 200 and upstream.accepted)
            method, _, version = expected["request"].partition(" ")
            answer, interim = self._ask(method, version)
            self._check_answer(answer, expected)
            assert interim == expected["interim"]
            self._check_reuse(upstream, expected["reused"])

    def _ask(self, method: str, version: str) -> tuple[Answer, list[int]]:
        with Client(self.port) as client:
            lines = [f"{method} /scripted/fixture {version}", "Host: answers.test", "Accept: text/plain"]
            client.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            answer = client.answer(method)
            if answer.complete:
                assert client.closed(), "nothing follows the answer"
            return answer, [one.status for one in answer.interim]

    def _check_answer(self, answer: Answer, expected: dict[str, Any]) -> None:
        body = answer.body.decode("latin-1")
        if expected["broken"]:
            if answer.status != 502 and not (self.foreign and answer.status == 500):
                assert answer.status == expected["status"]
                assert not answer.complete, "the client must see that the body is cut short"
                assert expected["body"].startswith(body)
            return
        assert answer.complete
        assert answer.status == expected["status"]
        if expected["status"] == 502:
            assert body.splitlines()[0] == expected["body"]
        else:
            assert body == expected["body"]
        check_headers(answer, expected["headers"])

    def _check_reuse(self, upstream: Upstream, reused: bool | None) -> None:
        if reused is None:
            return
        if not reused:
            wait_until(lambda: upstream.open == 0)
        before = upstream.accepted
        assert self._again() == 200
        assert upstream.accepted == before + (not reused), "connections to the upstream"

    def _again(self) -> int:
        """A plain request to the service of the answers: its status."""
        with Client(self.port) as client:
            client.send(b"GET /scripted/again HTTP/1.1\r\nHost: answers.test\r\nConnection: close\r\n\r\n")
            return client.answer().status
