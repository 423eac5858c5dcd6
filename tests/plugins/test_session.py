"""session: beginning, going on, renewal and end of sessions, in cookies and in the datastore; forged cookies."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk import Conf, Config, Context, LookupFailed, Plugin
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.session import Session
from kong_gevent.plugins.session.sealing import Seal
from kong_gevent.plugins.session.state import State, TableStorage
from kong_gevent.runtime.entities import EntityAccess
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


class Later:
    """Takes the place of the plugin's queue: what sessions put off happens when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.put = self.jobs.append

    def run(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


def make(plugin: Make, later: Later | None = None, **settings: Any) -> InMemoryGateway:
    """A gateway with key-auth (or the guest) and session; `made.ada`, `made.key` know the consumer."""
    made = plugin()
    if later is not None:
        session: Any = made.plugins["session"]
        session._later = later
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


LOGOUT = ("POST", "/?session_logout=1")


def test_a_session_is_over_when_its_end_is_told(plugin: Make) -> None:
    later = Later()
    made = make(plugin, later, storage="kong")
    jar = log_in(made)
    later.run()
    assert come(made, jar, *LOGOUT).status == 200
    assert (who(come(made, jar)), rows(made)) == ("guest", {})


def test_an_end_that_the_datastore_does_not_hear_of_is_not_told(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(plugin, storage="kong")
    jar = log_in(made)

    def fail(*_: Any) -> None:
        raise LookupFailed("no datastore")

    with monkeypatch.context() as context:
        context.setattr(EntityAccess, "delete", fail)
        run = come(made, jar, *LOGOUT)
    assert (run.status, lines(run), run.upstreams) == (503, [], [])
    assert who(come(made, jar)) == "ada"
    assert come(made, jar, *LOGOUT).status == 200


def test_a_use_that_is_noted_late_brings_no_session_back(plugin: Make, clock: Clock) -> None:
    later = Later()
    made = make(plugin, later, storage="kong")
    jar = log_in(made)
    later.run()
    clock.now += 100
    assert who(come(made, jar)) == "ada"
    assert len(later.jobs) == 1
    come(made, jar, *LOGOUT)
    later.run()
    assert (rows(made), who(come(made, jar))) == ({}, "guest")


@pytest.mark.parametrize("stored", ["before", "after"])
def test_who_logs_out_while_the_session_is_renewed_is_out(plugin: Make, clock: Clock, stored: str) -> None:
    later = Later()
    made = make(plugin, later, storage="kong", idling_timeout=0)
    jar = log_in(made)
    later.run()
    clock.now += 3000
    renewed = [cookies(come(made, jar)) for _ in range(2)]  # two requests at the same time
    if stored == "before":
        later.run()
        assert [who(come(made, each)) for each in renewed] == ["ada", "ada"]
    assert come(made, jar, *LOGOUT).status == 200
    later.run()
    assert [who(come(made, each)) for each in [jar, *renewed]] == ["guest"] * 3
    assert rows(made) == {}


def test_a_use_of_the_old_cookie_does_not_prolong_it(plugin: Make, clock: Clock) -> None:
    later = Later()
    made = make(plugin, later, storage="kong", idling_timeout=3600, stale_ttl=7)
    jar = log_in(made)
    later.run()
    (first,) = rows(made)
    clock.now += 2000
    come(made, jar)  # is noted
    clock.now += 1000
    come(made, jar)  # is renewed
    noted, renewed = later.jobs
    later.jobs[:] = [renewed, noted]
    later.run()
    assert 0 < rows(made)[first] <= 7


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_are_not_held_up_by_the_look_for_a_logout(plugin: Make, chunked: bool) -> None:
    made = make(plugin, read_body_for_logout=True)
    body = "file=" + "x" * (2 << 20)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    run = come(made, log_in(made), "POST", body=body, headers=form, chunked=chunked)
    assert (who(run), run.upstream.text) == ("ada", body)


def test_there_is_no_session_without_a_secret(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows how cookies are sealed could make one for anybody."""
    (stored,) = plugin("session", secret=None).store.dao("plugins").each()
    assert len(stored["config"]["secret"]) == 44
    monkeypatch.setenv("EMPTY_SECRET", "")
    made = plugin("session", secret="{vault://env/empty-secret}")
    run = made.get()
    assert (run.status, run.upstreams) == (500, [])


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


def test_who_has_a_session_is_not_asked_for_a_key(plugin: Make) -> None:
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


def rows(made: InMemoryGateway) -> dict[str, float]:
    """The sessions in the datastore: identifier → seconds to live."""
    made.flush()
    return {row["session_id"]: row["ttl"] for row in made.store.dao("sessions").each()}


def test_an_old_row_lives_as_long_as_it_may_be_stale(plugin: Make, clock: Clock) -> None:
    made = make(plugin, storage="kong", idling_timeout=0, stale_ttl=7)
    jar = log_in(made)
    (first,) = rows(made)
    clock.now += 3000
    come(made, jar)
    kept = rows(made)
    assert len(kept) == 2
    assert 0 < kept[first] <= 7


def test_remembered_browsers_leave_no_rows_behind(plugin: Make, clock: Clock) -> None:
    made = make(plugin, storage="kong", remember=True, stale_ttl=0)
    jar = log_in(made)
    first = rows(made)
    assert len(first) == 2
    clock.now += 100  # the use is noted
    run = come(made, jar)
    assert list(cookies(run)) == ["session"]
    assert set(rows(made)) == set(first)
    jar.update(cookies(run))
    for _ in range(4):
        clock.now += 800  # after the last one three quarters of the time are over
        jar.update(cookies(come(made, jar)))
    assert who(come(made, jar)) == "ada"
    renewed = rows(made)
    assert (len(renewed), set(renewed) & set(first)) == (2, set())
    clock.now += 86400
    run = come(made, {"remember": jar["remember"]})
    assert (who(run), set(cookies(run))) == ("ada", {"session", "remember"})
    assert len(rows(made)) == 3  # the session that is over has its own time to live
    assert who(come(made, {"remember": jar["remember"]})) == "guest"


def test_a_remembered_browser_is_known_for_the_absolute_time_only(plugin: Make, clock: Clock) -> None:
    made = make(plugin, remember=True, remember_absolute_timeout=10 * 86400)
    jar = log_in(made)
    for _ in range(3):
        clock.now += 3 * 86400
        run = come(made, {"remember": jar["remember"]})
        assert who(run) == "ada"
        jar = cookies(run)
    clock.now += 2 * 86400
    assert who(come(made, {"remember": jar["remember"]})) == "guest"


def test_logging_out_ends_what_is_remembered_too(plugin: Make, clock: Clock) -> None:
    made = make(plugin, storage="kong", remember=True)
    jar = log_in(made)
    run = come(made, jar, "POST", "/?session_logout=1")
    assert [line.partition("=")[0] for line in lines(run)] == ["session", "remember"]
    assert all(line.endswith("Max-Age=0") for line in lines(run))
    assert rows(made) == {}
    assert who(come(made, {"remember": jar["remember"]})) == "guest"
    jar = log_in(made)
    clock.now += 86400  # only the second cookie is good now
    assert come(made, jar, "DELETE", "/?session_logout=1").upstreams == []
    assert who(come(made, {"remember": jar["remember"]})) == "guest"


def test_whoever_proves_to_be_another_gets_a_session_of_their_own(plugin: Make) -> None:
    made = plugin()
    made.consumer("ada", "a")
    made.consumer("bob", "b")
    made.use("session", secret="top secret", storage="kong", response_headers=["subject"]).use("key-auth")
    jar = cookies(made.get(headers={"apikey": "a"}))
    (first,) = rows(made)
    run = come(made, jar, headers={"apikey": "b"})
    assert (who(run), run.response.headers["Session-Subject"]) == ("bob", "bob")
    assert list(cookies(run)) == ["session"]
    assert first not in rows(made)
    assert come(made, cookies(run), headers={"apikey": "b"}).response.headers.all("Set-Cookie") == []


@pytest.mark.parametrize(
    ("names", "subject"), [({"custom_id": "c-7"}, "c-7"), ({"username": "u", "custom_id": "c"}, "u")]
)
def test_the_subject_is_what_the_consumer_is_called(plugin: Make, names: dict[str, str], subject: str) -> None:
    made = plugin("session", response_headers=["subject"]).use("key-auth")
    consumer = made.insert("consumers", **names)
    made.insert("keyauth_credentials", consumer={"id": consumer["id"]}, key="k")
    assert made.get(headers={"apikey": "k"}).response.headers["Session-Subject"] == subject


class Named(Plugin):
    """Authenticates without a consumer, and in groups."""

    name = "named"
    config = Config
    priority = 1000
    more = 0

    def access(self, ctx: Context, conf: Conf) -> None:
        """As a directory would."""
        if ctx.request.header("x-consumer"):
            ctx.authenticated_groups = ["staff", "Admin", *(f"group {n}" for n in range(self.more))]
            consumer = self.kit.load_consumer(ctx.request.header("x-consumer"), by_username=True)
            ctx.authenticate(consumer, {"id": "c1"}, "c1")
        elif ctx.credential is None:
            ctx.authenticate(None, {"id": "c1", "username": "u"}, "u")


@pytest.fixture
def groups(clock: Clock) -> Any:
    made = InMemoryGateway(Named)
    made.consumer("ada")
    made.use("session", secret="s").use("named")
    yield made
    made.close()


def test_no_session_without_a_consumer(groups: InMemoryGateway) -> None:
    run = groups.get()
    assert (run.status, lines(run)) == (200, [])
    assert run.upstream.headers["X-Credential-Identifier"] == "u"


def test_groups_are_part_of_the_session(groups: InMemoryGateway) -> None:
    jar = cookies(groups.get(headers={"X-Consumer": "ada"}))
    run = come(groups, jar, headers={"X-Authenticated-Groups": "forged", "X_Authenticated_Groups": "forged"})
    assert run.upstream.headers["X-Authenticated-Groups"] == "staff, Admin"
    assert run.upstream.headers["X-Credential-Identifier"] == "c1"
    assert "forged" not in str(run.upstream.headers)


def test_who_is_in_many_groups_has_a_session_in_the_datastore(
    groups: InMemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = [each for each in groups.store.dao("plugins").each() if each["name"] == "session"]
    groups.update("plugins", session["id"], config={"storage": "kong"})
    monkeypatch.setattr(Named, "more", 1000)
    jar = cookies(groups.get(headers={"X-Consumer": "ada"}))
    groups.flush()
    run = come(groups, jar)
    assert run.upstream.headers["X-Authenticated-Groups"].endswith(", group 999")
    assert lines(run) == []


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/json"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_body_of_any_kind_may_ask_for_the_end(plugin: Make, kind: str, method: str) -> None:
    made = make(plugin, read_body_for_logout=True)
    part = '--b\r\nContent-Disposition: form-data; name="session_logout"\r\n\r\n1\r\n--b--\r\n'
    body = part if "multipart" in kind else '{"session_logout": true}'
    assert come(made, log_in(made), method, body=body, headers={"Content-Type": kind}).upstreams == []


@pytest.mark.parametrize(
    "cookie",
    [
        "{other}; session={good}",
        "session={good}; session=x",
        'session="{good}"',
        " session = {good} ",
        "a;b;session={good}",
    ],
)
def test_how_cookies_may_be_written(plugin: Make, cookie: str) -> None:
    made = make(plugin)
    good = log_in(made)["session"]
    assert who(made.get(headers={"Cookie": cookie.format(good=good, other="x=1")})) == "ada"


def test_an_audience_that_is_null_is_the_default_one(plugin: Make) -> None:
    made = make(plugin, audience=None)
    assert who(come(made, log_in(made))) == "ada"


def test_the_datastore_being_away_ends_the_request(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(plugin, storage="kong")
    jar = log_in(made)

    def fail(*_: Any, **__: Any) -> None:
        raise LookupFailed("no datastore")

    monkeypatch.setattr(TableStorage, "load", fail)
    run = come(made, jar)
    assert (run.status, run.upstreams) == (503, [])


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
