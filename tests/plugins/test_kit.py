"""What the kit promises to every plugin."""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.pdk import Conf, Config, Context, Plugin, fields
from kong_gevent.pdk.testing import InMemoryGateway, respond

Make = Callable[..., InMemoryGateway]


class NoteConfig(Config):
    phase = fields.String(metadata={"description": "The phase that fails, if any."})


class Note(Plugin):
    """Notes the phases that it went through."""

    name = "note"
    priority = 1
    config = NoteConfig

    def _enter(self, ctx: Context, conf: Conf, phase: str) -> None:
        ctx.log.setdefault("phases", []).append(phase)
        if conf.phase == phase:
            raise RuntimeError("on purpose")

    def access(self, ctx: Context, conf: Conf) -> None:
        self._enter(ctx, conf, "access")

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        self._enter(ctx, conf, "header_filter")

    def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> None:
        if last:
            self._enter(ctx, conf, "body_filter")

    def log(self, ctx: Context, conf: Conf) -> None:
        self._enter(ctx, conf, "log")


@pytest.mark.parametrize(
    ("phase", "status"),
    [(None, 200), ("access", 500), ("header_filter", 200), ("body_filter", 200), ("log", 200)],
)
def test_a_plugin_that_fails_lets_nothing_pass_and_breaks_nothing_later(
    plugin: Make, phase: str | None, status: int
) -> None:
    run = plugin(Note, phase=phase).get()
    assert run.status == status
    assert bool(run.upstreams) == (status == 200)
    assert run.log["phases"] == ["access", "header_filter", "body_filter", "log"]


class Mirror(Plugin):
    """Tells what it sees of both sides' fields."""

    name = "mirror"
    priority = 1
    config = NoteConfig

    def access(self, ctx: Context, conf: Conf) -> None:
        ctx.upstream.add_header("X-Both", "ours")
        ctx.log["upstream"] = ctx.upstream.header("x-both")
        ctx.upstream.set_header("X_Mine", "new")
        ctx.log["mine"] = [ctx.request.header("x-mine"), ctx.upstream.header("x-mine")]

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        ctx.response.add_header("X-Up", "ours")
        ctx.response.clear_header("x-gone")
        ctx.log["answer"] = {
            "x-up": ctx.response.header_values("X_Up"),
            "x-gone": ctx.response.header("X-Gone"),
            "all": ctx.response.headers(),
        }


def test_fields_are_seen_as_they_will_be_sent(plugin: Make) -> None:
    made = plugin(Mirror)
    made.upstream.respond = respond(headers={"X-Up": "theirs", "X-Gone": "1"})
    run = made.get("/", headers={"X-Both": "theirs", "X-Mine": "old"})
    assert run.log["upstream"] == "theirs"
    assert run.log["mine"] == ["old", "new"]
    assert run.upstream.headers.all("X-Both") == ["theirs", "ours"]
    assert [value for name, value in run.upstream.headers.fields if name.lower() in ("x-mine", "x_mine")] == ["new"]
    assert run.log["answer"]["x-up"] == run.response.headers.all("X-Up") == ["theirs", "ours"]
    assert run.log["answer"]["x-gone"] is None
    assert run.log["answer"]["all"] == {"x-up": ["theirs", "ours"], "content-length": "0"}


@pytest.mark.parametrize("path", ["/?apikey=k1", "/"], ids=["proxied", "refused"])
def test_a_request_leaves_nothing_for_the_garbage_collector(plugin: Make, path: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "rate-limiting": {"year": 10**6},
        "cors": {"origins": ["https://a.example", "https://b.example"]},
        "correlation-id": {"echo_downstream": True},
        "ip-restriction": {"allow": ["127.0.0.0/8"]},
        "request-size-limiting": {},
    }
    made = plugin("key-auth")
    made.consumer("ada", "k1")
    for name, config in settings.items():
        made.use(name, **config)
    made.gateway.access_log = None
    made.get(path)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            made.get(path)
        assert gc.collect() == 0
    finally:
        gc.enable()


class Rename(Plugin):
    """Changes fields that tell who asks, after the authentication."""

    name = "rename"
    priority = 1
    config = NoteConfig

    def access(self, ctx: Context, conf: Conf) -> None:
        ctx.log["seen"] = ctx.upstream.header("X-Consumer-Username")
        ctx.upstream.set_header("x_consumer_username", "someone")
        ctx.upstream.clear_header("X-Credential-Identifier")
        ctx.upstream.set_header("X-Other", "1")


class Presume(Rename):
    """Says who asks before the authentication has found out."""

    name = "presume"
    priority = 5000

    def access(self, ctx: Context, conf: Conf) -> None:
        ctx.upstream.set_header("X-Consumer-Username", "a guess")
        ctx.upstream.set_header("X-Other", "1")


def test_a_plugin_may_change_who_asks(plugin: Make) -> None:
    made = plugin(Rename).use("key-auth")
    ada = made.consumer("ada", "k1")
    run = made.get("/?apikey=k1")
    assert run.log["seen"] == "ada"
    fields_sent = {name.lower().replace("_", "-"): value for name, value in run.upstream.headers.fields}
    assert fields_sent["x-consumer-username"] == "someone"
    assert run.upstream.headers.all("X-Consumer-Username") == []  # only the plugin's spelling
    assert run.upstream.headers.all("X-Consumer-ID") == [ada["id"]]
    assert run.upstream.headers.all("X-Credential-Identifier") == []


def test_the_authentication_has_the_last_word(plugin: Make) -> None:
    made = plugin(Presume).use("key-auth")
    made.consumer("ada", "k1")
    run = made.get("/?apikey=k1")
    assert run.upstream.headers.all("X-Consumer-Username") == ["ada"]
    assert run.upstream.headers.all("X-Other") == ["1"]
