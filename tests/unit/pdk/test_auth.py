"""What authentication plugins share: several on one route, the anonymous consumer, refusals."""

from collections.abc import Callable

import pytest

from kong_gevent.pdk import Conf, Config, Context, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Refusal, challenge
from kong_gevent.pdk.testing import InMemoryGateway


class BadgeConfig(Config):
    anonymous = fields.String(metadata={"description": "Consumer for requests without a badge."})
    plain = fields.Boolean(load_default=False, metadata={"description": "Whether refusals are bare JSON."})


class Badge(AuthenticationPlugin):
    """Recognises a consumer by username in a header; two of them run with different names."""

    name = "badge"
    priority = 1300
    config = BadgeConfig

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        value = ctx.request.header(f"X-{self.name}")
        consumer = self.kit.load_consumer(value, by_username=True) if value else None
        if consumer is None:
            return Refusal(401, "No badge", challenge("Badge", None), plain=conf.plain)
        ctx.authenticate(consumer, {"id": f"{self.name} of {value}"}, f"{self.name}-{value}")
        return None

    def skipped(self, ctx: Context, conf: Conf) -> None:
        ctx.upstream.set_header("X-Skipped", self.name)


class Pass(Badge):
    name = "pass"
    priority = 1200


@pytest.fixture
def gateway() -> Callable[..., InMemoryGateway]:
    made: list[InMemoryGateway] = []

    def make(**anonymous: str | None) -> InMemoryGateway:
        node = InMemoryGateway(Badge, Pass)
        made.append(node)
        for username in ("ada", "bob", "guest"):
            node.consumer(username)
        for name, value in anonymous.items():
            node.use("pass" if name == "pass_" else name, anonymous=value)
        return node

    yield make  # type: ignore[misc]
    for node in made:
        node.close()


def test_without_anonymous_all_must_succeed_and_the_last_one_counts(gateway: Callable[..., InMemoryGateway]) -> None:
    node = gateway(badge=None, pass_=None)
    assert node.get("/", headers={"X-Badge": "ada"}).status == 401
    assert node.get("/", headers={"X-Pass": "bob"}).status == 401
    upstream = node.get("/", headers={"X-Badge": "ada", "X-Pass": "bob"}).upstream
    assert upstream.headers.all("X-Consumer-Username") == ["bob"]
    assert upstream.headers["X-Credential-Identifier"] == "pass-bob"


def test_with_anonymous_one_is_enough_and_the_first_one_counts(gateway: Callable[..., InMemoryGateway]) -> None:
    node = gateway(badge="guest", pass_="guest")
    upstream = node.get("/", headers={"X-Badge": "ada", "X-Pass": "bob"}).upstream
    assert upstream.headers["X-Credential-Identifier"] == "badge-ada"
    assert upstream.headers["X-Skipped"] == "pass"
    upstream = node.get("/", headers={"X-Pass": "bob"}).upstream
    assert upstream.headers.all("X-Consumer-Username") == ["bob"]
    assert "X-Anonymous-Consumer" not in upstream.headers


def test_with_anonymous_nobody_is_the_anonymous_consumer(gateway: Callable[..., InMemoryGateway]) -> None:
    upstream = gateway(badge="guest", pass_="guest").get("/").upstream
    assert upstream.headers["X-Consumer-Username"] == "guest"
    assert upstream.headers["X-Anonymous-Consumer"] == "true"
    assert "X-Credential-Identifier" not in upstream.headers


def test_refusals_are_negotiated_or_plain(gateway: Callable[..., InMemoryGateway]) -> None:
    node = gateway(badge=None)
    run = node.get("/", headers={"Accept": "text/plain"})
    assert run.response.text.startswith("No badge\nrequest_id: ")
    node = gateway()
    node.use("badge", plain=True)
    run = node.get("/", headers={"Accept": "text/plain"})
    assert run.response.body == b'{"message":"No badge"}'
    assert run.response.headers["WWW-Authenticate"] == "Badge"


@pytest.mark.parametrize(
    ("realm", "value"),
    [(None, "Key"), ("", "Key"), ("api", 'Key realm="api"'), ('a"b\\c', 'Key realm="a\\"b\\\\c"')],
)
def test_challenges_name_the_realm(realm: str | None, value: str) -> None:
    assert challenge("Key", realm) == {"WWW-Authenticate": value}
