"""What a plugin can change about the call to the upstream, beyond header fields."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.pdk import Conf, Config, Context, Plugin
from kong_gevent.pdk.testing import InMemoryGateway, respond

Make = Callable[..., InMemoryGateway]
Change = Callable[[Context], None]


class Steer(Plugin):
    """Does to each request what the test says."""

    name = "steer"
    priority = 1
    config = Config
    change: Change

    def access(self, ctx: Context, conf: Conf) -> None:
        self.change(ctx)

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        ctx.log["seen"] = ctx.response.body
        ctx.log["own_conf"] = ctx.conf_of(self) is conf


@pytest.fixture
def steered(plugin: Make) -> Callable[[Change], InMemoryGateway]:
    def make(change: Change) -> InMemoryGateway:
        made = plugin(Steer)
        steer: Any = made.plugins["steer"]
        steer.change = change
        return made

    return make


Steered = Callable[[Change], InMemoryGateway]


def places(made: InMemoryGateway) -> list[tuple[Any, ...]]:
    """What the gateway asks its pool for: family, address, port, and the TLS context and name if there are."""
    asked: list[tuple[Any, ...]] = []
    upstream: Any = made.upstream
    upstream.origin = lambda *place: asked.append(place) or upstream
    return asked


def test_a_json_body(steered: Steered) -> None:
    run = steered(lambda ctx: ctx.upstream.set_json_body({"a": ["ü", None]})).post("/", b"old")
    assert run.upstream.json() == {"a": ["ü", None]}
    assert run.upstream.headers.all("Content-Type") == ["application/json"]


def test_another_target(steered: Steered) -> None:
    made = steered(lambda ctx: ctx.upstream.set_target("other.test", 8081))
    asked = places(made)
    assert made.get("/a?b=c").upstream.headers.all("Host") == ["other.test:8081"]
    assert asked[-1][2] == 8081


def test_another_scheme(steered: Steered) -> None:
    made = steered(lambda ctx: ctx.upstream.set_scheme("https"))
    asked = places(made)
    assert made.get("/").status == 200
    assert asked[-1][3] is not None, "there is a TLS context"


def test_another_scheme_for_an_upstream(steered: Steered) -> None:
    """Its targets are called by it; the name of an upstream is none that could be looked up."""
    made = steered(lambda ctx: ctx.upstream.set_scheme("https"))
    pool = made.insert("upstreams", name="pool")
    made.insert("targets", upstream={"id": pool["id"]}, target="10.1.2.3:443")
    made.update("services", made.service["id"], host="pool")
    asked = places(made)
    run = made.get("/")
    assert run.status == 200
    assert run.upstream.headers.all("Host") == ["10.1.2.3"]
    assert asked[-1][2] == 443
    assert asked[-1][3] is not None, "there is a TLS context"
    assert asked[-1][4] == "10.1.2.3"


@pytest.mark.parametrize(("port", "scheme"), [(65536, "http"), (-1, "http"), (80, "ftp")])
def test_what_is_no_target(steered: Steered, port: int, scheme: str) -> None:
    def change(ctx: Context) -> None:
        ctx.upstream.set_scheme(scheme)
        ctx.upstream.set_target("other.test", port)

    run = steered(change).get("/")
    assert (run.status, run.upstreams) == (500, [])


@pytest.mark.parametrize("retries", [0, 2])
def test_how_often_is_tried(steered: Steered, retries: int) -> None:
    made = steered(lambda ctx: ctx.upstream.set_retries(retries))
    tries = []

    def refuse(*_: Any) -> Any:
        tries.append(1)
        raise ConnectionRefusedError(111, "refused")

    upstream: Any = made.upstream
    upstream.take = refuse
    assert made.get("/").status == 502
    assert len(tries) == retries + 1


def test_how_long_is_waited(steered: Steered) -> None:
    made = steered(lambda ctx: ctx.upstream.set_timeouts(connect=1500, write=2500, read=3500))
    upstream: Any = made.upstream
    take, waited = upstream.take, []

    def watched(timeout: float, *more: Any) -> Any:
        lease = take(timeout, *more)
        waited.append((timeout, lease.stream))
        return lease

    upstream.take = watched
    assert made.get("/").status == 200
    ((connect, stream),) = waited
    assert (connect, stream.write_timeout, stream.read_timeout) == (1.5, 2.5, 3.5)


def test_the_answer_is_read_before_it_goes_on(steered: Steered) -> None:
    made = steered(lambda ctx: ctx.upstream.enable_buffering())
    made.upstream.respond = respond(200, b"whole")
    assert made.get("/").log["seen"] == b"whole"


def test_the_configuration_that_was_chosen(steered: Steered) -> None:
    made = steered(lambda ctx: None)
    assert made.get("/").log["own_conf"]
    made.use("steer", on="service")
    consumer = made.consumer("ada")
    made.use("steer", on={"consumer": consumer})
    assert made.get("/").log["own_conf"]
