"""session: beginning, going on, renewal and end of sessions, in cookies and in the datastore; forged cookies."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.session import Session
from kong_gevent.plugins.session.sealing import Seal
from kong_gevent.plugins.session.state import State
from tests.gateway import Gateway
from tests.upstream import Upstream
from tests.wire import wait_until

Make = Callable[..., InMemoryGateway]
STORAGES = ["cookie", "kong"]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_900_000_000.0
        monkeypatch.setattr(Session, "clock", staticmethod(lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make(plugin: Make, **settings: Any) -> InMemoryGateway:
    """A gateway with key-auth (or the guest) and session; `made.ada`, `made.key` know the consumer."""
    made = plugin()
    made.consumer("guest")
    made.consumer("ada", "k")
    made.use("session", secret="top secret", **settings)
    made.use("key-auth", anonymous="guest")
    return made


def cookies(run: Run) -> dict[str, str]:
    """The cookies that an answer sets: name → value."""
    return dict(re.match(r"([^=]+)=([^;]*)", line).groups() for line in lines(run))  # type: ignore[union-attr]


def lines(run: Run) -> list[str]:
    return run.response.headers.all("Set-Cookie")


def log_in(made: InMemoryGateway) -> dict[str, str]:
    run = made.get(headers={"apikey": "k"})
    assert run.status == 200
    made.flush()
    return cookies(run)


def come(made: InMemoryGateway, jar: dict[str, str], method: str = "GET", path: str = "/", **options: Any) -> Run:
    header = "; ".join(f"{name}={value}" for name, value in jar.items())
    run = made.request(method, path, headers={"Cookie": header, **options.pop("headers", {})}, **options)
    made.flush()
    return run


def who(run: Run) -> str | None:
    name: str | None = run.upstream.headers.get("X-Consumer-Username")
    return name


@pytest.mark.parametrize("storage", STORAGES)
def test_a_cookie_stands_for_the_key(plugin: Make, storage: str) -> None:
    made = make(plugin, storage=storage)
    jar = log_in(made)
    assert list(jar) == ["session"]
    run = come(made, jar)
    assert who(run) == "ada"
    assert "X-Anonymous-Consumer" not in run.upstream.headers
    key = made.get(headers={"apikey": "k"}).upstream.headers["X-Credential-Identifier"]
    assert run.upstream.headers["X-Credential-Identifier"] == key
    assert lines(run) == []


@pytest.mark.parametrize("storage", STORAGES)
def test_without_a_cookie_or_with_a_bad_one_there_is_the_guest(plugin: Make, storage: str) -> None:
    made = make(plugin, storage=storage)
    good = log_in(made)["session"]
    forged = [good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), good[:20], "x", "é" * 30, "A" * 5000, good + "A"]
    assert who(come(made, {})) == "guest"
    for value in forged:
        run = come(made, {"session": value.encode().decode("latin-1")})
        assert (run.status, who(run), lines(run)) == (200, "guest", [])


def test_a_cookie_of_another_secret_or_purpose_does_not_count(plugin: Make) -> None:
    made = make(plugin, remember=True)
    jar = log_in(made)
    assert who(come(made, {"session": jar["remember"]})) == "guest"
    state = State.begin("ada", "default", ("x", "y", ()), 1.0).as_json()
    assert who(come(made, {"session": Seal("other secret", "session").close(state)})) == "guest"


def test_no_session_for_guests(plugin: Make) -> None:
    made = make(plugin)
    assert lines(made.get()) == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, r"session=[\w-]+; Path=/; SameSite=Strict; Secure; HttpOnly"),
        (
            {
                "cookie_name": "sid",
                "cookie_path": "/app",
                "cookie_domain": "example.test",
                "cookie_same_site": "Lax",
                "cookie_secure": False,
                "cookie_http_only": False,
            },
            r"sid=[\w-]+; Path=/app; Domain=example.test; SameSite=Lax",
        ),
        ({"cookie_same_site": "Default"}, r"session=[\w-]+; Path=/; Secure; HttpOnly"),
    ],
)
def test_the_cookies_attributes(plugin: Make, settings: dict[str, Any], line: str) -> None:
    made = make(plugin, **settings)
    (found,) = lines(made.get(headers={"apikey": "k"}))
    assert re.fullmatch(line, found)


def test_two_cookies_when_browsers_are_to_be_remembered(plugin: Make, clock: Clock) -> None:
    made = make(plugin, remember=True)
    first, second = lines(made.get(headers={"apikey": "k"}))
    assert re.fullmatch(r"session=[\w-]+; Path=/; SameSite=Strict; Secure; HttpOnly", first)
    assert re.fullmatch(
        r"remember=[\w-]+; Path=/; SameSite=Strict; Secure; HttpOnly; "
        r"Expires=\w+, \d+ \w+ \d+ [\d:]+ GMT; Max-Age=604800",
        second,
    )


@pytest.mark.parametrize("storage", STORAGES)
def test_a_remembered_browser_begins_a_session_anew(plugin: Make, clock: Clock, storage: str) -> None:
    made = make(plugin, remember=True, storage=storage)
    jar = log_in(made)
    clock.now += 4 * 86400  # far beyond the session's own times
    run = come(made, {"remember": jar["remember"]})
    assert who(run) == "ada"
    assert set(cookies(run)) == {"session", "remember"}
    assert who(come(made, {"session": cookies(run)["session"]})) == "ada"
    clock.now += 31 * 86400
    assert who(come(made, {"remember": jar["remember"]})) == "guest"


@pytest.mark.parametrize(
    ("settings", "wait", "known"),
    [
        ({}, 899, True),
        ({}, 901, False),
        ({"idling_timeout": 0}, 3599, True),
        ({"idling_timeout": 0}, 3601, False),
        ({"idling_timeout": 0, "rolling_timeout": 0}, 86399, True),
        ({"idling_timeout": 0, "rolling_timeout": 0}, 86401, False),
        ({"idling_timeout": 0, "rolling_timeout": 0, "absolute_timeout": 0}, 10**7, True),
        ({"idling_timeout": 5}, 6, False),
        ({"cookie_idletime": 5}, 6, False),
        ({"cookie_lifetime": 5, "cookie_idletime": None}, 6, False),
    ],
)
def test_sessions_end(plugin: Make, clock: Clock, settings: dict[str, Any], wait: float, known: bool) -> None:
    made = make(plugin, **settings)
    jar = log_in(made)
    clock.now += wait
    assert who(come(made, jar)) == ("ada" if known else "guest")


@pytest.mark.parametrize("storage", STORAGES)
def test_use_keeps_a_session_alive(plugin: Make, clock: Clock, storage: str) -> None:
    made = make(plugin, storage=storage)
    jar = log_in(made)
    for _ in range(4):
        clock.now += 800
        run = come(made, jar)
        assert who(run) == "ada"
        jar.update(cookies(run))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_session_is_renewed_before_its_time_is_over(plugin: Make, clock: Clock, storage: str) -> None:
    made = make(plugin, storage=storage, idling_timeout=0, response_headers=["id"])
    jar = log_in(made)
    before = come(made, jar).response.headers["Session-Id"]
    clock.now += 3000
    run = come(made, jar)
    assert run.response.headers["Session-Id"] != before
    assert who(come(made, cookies(run))) == "ada"
    assert who(come(made, jar)) == "ada"  # still good for some seconds, for requests that were under way


def test_absolute_time_is_not_renewed(plugin: Make, clock: Clock) -> None:
    made = make(plugin, idling_timeout=0, absolute_timeout=4000)
    jar = log_in(made)
    clock.now += 3000
    jar.update(cookies(come(made, jar)))
    clock.now += 1001
    assert who(come(made, jar)) == "guest"


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("settings", "method", "path", "body"),
    [
        ({}, "DELETE", "/?session_logout=1", None),
        ({}, "POST", "/?session_logout", None),
        ({"logout_methods": ["GET"], "logout_query_arg": "bye"}, "GET", "/?bye=yes", None),
        ({"read_body_for_logout": True}, "POST", "/", "session_logout=1"),
        ({"read_body_for_logout": True, "logout_post_arg": "bye"}, "POST", "/", "bye=1"),
    ],
)
def test_logging_out(
    plugin: Make, storage: str, settings: dict[str, Any], method: str, path: str, body: str | None
) -> None:
    made = make(plugin, storage=storage, **settings)
    jar = log_in(made)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    run = come(made, jar, method, path, **({"body": body, "headers": form} if body else {}))
    assert (run.status, run.response.body, run.upstreams) == (200, b"", [])
    (line,) = lines(run)
    assert line.startswith("session=; Path=/; ")
    assert line.endswith("Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0")
    if storage == "kong":
        assert who(come(made, jar)) == "guest"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/?session_logout=1", None), ("POST", "/", "session_logout=1"), ("DELETE", "/?other=1", None)],
)
def test_what_is_no_logout(plugin: Make, method: str, path: str, body: str | None) -> None:
    made = make(plugin)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    run = come(made, log_in(made), method, path, **({"body": body, "headers": form} if body else {}))
    assert who(run) == "ada"


@pytest.mark.parametrize("storage", STORAGES)
def test_a_consumer_that_is_gone_has_no_session(plugin: Make, storage: str) -> None:
    made = make(plugin, storage=storage)
    jar = log_in(made)
    made.delete("consumers", made.store.dao("consumers").select_by("username", "ada")["id"])
    run = come(made, jar)
    assert who(run) == "guest"
    assert cookies(run) == {"session": ""}


def test_another_credential_begins_another_session(plugin: Make) -> None:
    made = make(plugin)
    made.consumer("bob", "b")
    jar = log_in(made)
    assert who(come(made, {}, headers={"apikey": "b"})) == "bob"
    run = come(made, jar, headers={"apikey": "b"})
    assert who(run) == "ada"  # whoever has a session is not asked for a key
    assert lines(run) == []


def test_both_sides_can_be_told(plugin: Make, clock: Clock) -> None:
    names = ["id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"]
    made = make(plugin, audience="shop", request_headers=names, response_headers=names)
    jar = log_in(made)
    clock.now += 10
    run = come(made, jar)
    expected = {
        "Session-Audience": "shop",
        "Session-Subject": "ada",
        "Session-Timeout": "890",
        "Session-Idling-Timeout": "890",
        "Session-Rolling-Timeout": "3590",
        "Session-Absolute-Timeout": "86390",
    }
    for headers in (run.upstream.headers, run.response.headers):
        assert {name: headers[name] for name in expected} == expected
        assert len(headers["Session-Id"]) == 43


def test_sessions_of_another_audience_do_not_count(plugin: Make) -> None:
    made = make(plugin, audience="one")
    jar = log_in(made)
    sessions = [entity for entity in made.store.dao("plugins").each() if entity["name"] == "session"]
    made.update("plugins", sessions[0]["id"], config={"audience": "two"})
    assert who(come(made, jar)) == "guest"


def test_rows_are_sealed_and_expire(plugin: Make) -> None:
    made = make(plugin, storage="kong")
    log_in(made)
    (row,) = made.store.dao("sessions").each()
    assert 800 < row["ttl"] <= 900
    assert "ada" not in row["data"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"storage": "redis"}, "storage"),
        ({"cookie_same_site": "off"}, "cookie_same_site"),
        ({"logout_methods": ["PUT"]}, "logout_methods"),
        ({"response_headers": ["x"]}, "response_headers"),
        ({"idling_timeout": "1"}, "idling_timeout"),
        ({"cookie_secure": "yes"}, "cookie_secure"),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], field: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("session", **config)
    assert list(caught.value.fields["config"]) == [field]


def test_old_names(plugin: Make) -> None:
    made = plugin("session", cookie_samesite="off", cookie_httponly=False, cookie_persistent=True, cookie_discard=3)
    (stored,) = made.store.dao("plugins").each()
    config = stored["config"]
    found = config["cookie_same_site"], config["cookie_http_only"], config["remember"], config["stale_ttl"]
    assert found == ("Lax", False, True, 3)


@pytest.mark.parametrize("storage", STORAGES)
def test_all_workers_of_a_node_know_the_session(
    make_gateway: Callable[..., Gateway], upstream: Upstream, storage: str
) -> None:
    gateway = make_gateway(workers=3)
    gateway.route(upstream.url)
    gateway.create("/consumers", username="ada")
    gateway.create("/consumers", username="guest")
    gateway.create("/consumers/ada/key-auth", key="k")
    gateway.create("/plugins", name="session", config={"storage": storage, "cookie_secure": False})
    gateway.create("/plugins", name="key-auth", config={"anonymous": "guest"})
    cookie = gateway.get("/", headers={"apikey": "k"}).headers["Set-Cookie"].partition(";")[0]

    def name() -> str:
        headers = {
            name.lower(): value for name, value in gateway.get("/", headers={"Cookie": cookie}).json()["headers"]
        }
        return str(headers.get("x-consumer-username"))

    wait_until(lambda: name() == "ada")
    assert {name() for _ in range(20)} == {"ada"}
