"""Answers on their way through plugins: what they do to its length, what becomes of errors, which connections stay."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from kong_gevent.pdk import Conf, Config, Context, CutAnswer, Plugin
from kong_gevent.pdk.memory import MemoryStream
from kong_gevent.pdk.testing import InMemoryGateway, respond
from kong_gevent.runtime.connection import Connection

Made = Callable[..., InMemoryGateway]


class Filtering(Plugin):
    """Makes something else of each part of the body."""

    name = "filtering"
    priority = 1
    config = type("FilteringConfig", (Config,), {})
    made: Any = staticmethod(lambda part, last: part)

    def body_filter(self, _ctx: Context, _conf: Conf, part: bytes, last: bool) -> Any:
        return type(self).made(part, last)


class Responding(Plugin):
    """Looks at whole answers."""

    name = "responding"
    priority = 1
    config = type("RespondingConfig", (Config,), {})
    made: Any = staticmethod(lambda ctx: None)

    def response(self, ctx: Context, _conf: Conf) -> Any:
        return type(self).made(ctx)


class Rewriting(Plugin):
    """Fails before anything else."""

    name = "rewriting"
    priority = 1
    config = type("RewritingConfig", (Config,), {})

    def rewrite(self, _ctx: Context, _conf: Conf) -> Any:
        raise ConnectionRefusedError("somebody else's")


def asked(gateway: InMemoryGateway, request: bytes) -> bytes:
    """What the client gets until its connection ends, as it has to."""
    stream: Any = MemoryStream(request)
    assert not gateway._connection(stream).run()
    return bytes(stream.written)


@pytest.mark.parametrize("body", [b"", b"abc"])
@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (Filtering, lambda part, last: part),
        (Responding, lambda ctx: None),
        (Responding, lambda ctx: ctx.exit(201, {"a": 1})),
    ],
    ids=["body_filter", "response", "exit"],
)
@pytest.mark.parametrize("extra", [b"", b"x"])
def test_an_upstreams_connection_is_kept_when_all_of_the_answer_was_read_and_no_more(
    plugin: Made, monkeypatch: pytest.MonkeyPatch, kind: Any, made: Any, body: bytes, extra: bytes
) -> None:
    monkeypatch.setattr(kind, "made", staticmethod(made))
    gateway = plugin(kind)
    kept: list[Any] = []
    monkeypatch.setattr(gateway.upstream, "give", kept.append)
    gateway.upstream.respond = lambda request: respond(200, body)(request) + extra
    assert gateway.get().status in (200, 201)
    assert len(kept) == (not extra)


@pytest.mark.parametrize("made", [b"longer than that", b"ab", b""])
@pytest.mark.parametrize("late", [False, True])
def test_a_body_that_a_filter_made_longer_or_shorter_than_its_length_is_cut(
    plugin: Made, monkeypatch: pytest.MonkeyPatch, made: bytes, late: bool
) -> None:
    """The client must neither wait for the rest, nor take what is too much for the next answer."""
    monkeypatch.setattr(Filtering, "made", staticmethod(lambda part, last: made if last == late else b""))
    gateway = plugin(Filtering)
    gateway.upstream.respond = respond(200, b"abc")
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    head, _, body = asked(gateway, request * 2).partition(b"\r\n\r\n")
    assert b"Content-Length: 3" in head
    assert len(body) < 3


def test_a_filter_that_fails_badly_cuts_the_answer(plugin: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads until the end of the connection must not take what has come for all of it."""
    monkeypatch.setattr(Filtering, "made", staticmethod(lambda part, last: 7))
    gateway = plugin(Filtering)
    gateway.upstream.respond = lambda request: b"HTTP/1.1 200 OK\r\n\r\nabc"
    resets: list[Any] = []
    monkeypatch.setattr(MemoryStream, "reset", lambda stream: resets.append(stream))
    with pytest.raises(TypeError):
        asked(gateway, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert len(resets) == 1


def failing(_ctx: Context) -> Any:
    """What some plugin's own call may come to."""
    raise ConnectionRefusedError("somebody else's")


@pytest.mark.parametrize("kind", [Responding, Rewriting])
def test_an_error_of_a_plugins_own_connection_is_not_the_clients(
    plugin: Made, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(Responding, "made", staticmethod(failing))
    run = plugin(kind).get()
    assert (run.status, run.response.json()["message"]) == (500, "An unexpected error occurred")
    assert run.log["response"]["status"] == 500


def refusing(part: bytes, _last: bool) -> bytes:
    """Cuts what the upstream says."""
    if part == b"abc":
        raise CutAnswer("it is too large for me")
    return part


def test_a_whole_answer_that_a_filter_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it has gone out yet, so that there is something better to say than nothing."""
    monkeypatch.setattr(Filtering, "made", staticmethod(refusing))
    monkeypatch.setattr(Responding, "made", staticmethod(lambda ctx: None))
    gateway = InMemoryGateway(Filtering, Responding).use("filtering").use("responding")
    gateway.upstream.respond = respond(200, b"abc")
    run = gateway.get()
    gateway.close()
    assert (run.status, run.log["response"]["status"]) == (502, 502)


def test_a_body_that_cannot_be_passed_on_leaves_nobody_waiting(plugin: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason is: the upstream would wait for the rest, and the client for its answer."""

    def fail(_connection: Connection) -> bytes:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Connection, "read_body", fail)
    with gevent.Timeout(30):
        assert plugin().post(body=b"x" * 20_000).status == 502
