"""Every two authentication plugins on one route: both must succeed, or, with a guest, the first that does decides."""

import email.utils
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from hmac import digest
from itertools import combinations
from typing import Any

import orjson
import pytest

from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.ldap_auth.client import Directory

ORDER = ("jwt", "oauth2", "key-auth", "ldap-auth", "basic-auth", "hmac-auth")
"""By priority."""
CHALLENGES = {
    "jwt": "Bearer",
    "oauth2": "Bearer",
    "key-auth": "Key",
    "ldap-auth": "LDAP",
    "basic-auth": 'Basic realm="service"',
    "hmac-auth": "hmac",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "jwt": {"header_names": ["x-jwt"]},
    "oauth2": {"enable_client_credentials": True, "global_credentials": True, "auth_header_name": "x-token"},
    "ldap-auth": {"ldap_host": "directory.test", "base_dn": "dc=test", "attribute": "uid"},
}
PAIRS = list(combinations(ORDER, 2))


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in which everybody's password is `good`."""
    monkeypatch.setattr(Directory, "accepts", lambda self, name, password: password == "good")


class Lab:
    """A gateway with some plugins on its route, and a consumer for each, called after it."""

    def __init__(self, plugins: tuple[str, ...], anonymous: str | None) -> None:
        self.made = made = InMemoryGateway()
        made.consumer("guest")
        for name in plugins:
            made.use(name, on="route", anonymous=anonymous, **SETTINGS.get(name, {}))
        for name in ORDER:
            made.consumer(name, *(["key"] if name == "key-auth" else []))
        self._insert("jwt_secrets", "jwt", key="issuer", secret="secret")
        self._insert("basicauth_credentials", "basic-auth", username="basic", password="good")
        self._insert("hmacauth_credentials", "hmac-auth", username="signer", secret="secret")
        client = self._insert("oauth2_credentials", "oauth2", name="app", client_id="app")
        made.insert("oauth2_tokens", credential={"id": client["id"]}, access_token="token", expires_in=0)

    def _insert(self, kind: str, consumer: str, **fields: Any) -> dict[str, Any]:
        owner = self.made.store.dao("consumers").select_by("username", consumer)
        assert owner is not None
        return self.made.insert(kind, consumer={"id": owner["id"]}, **fields)

    def ask(self, *credentials: str, good: bool = True, cookie: str | None = None) -> Run:
        """A request with these credentials, or with such that are wrong."""
        now = email.utils.formatdate(usegmt=True)
        headers: list[tuple[str, str]] = [("Date", now), *([("Cookie", cookie)] if cookie else [])]
        places = ["Authorization", "Proxy-Authorization"]
        for name in credentials:
            header, value = shown(name, good, now)
            headers.append((header or places.pop(0), value))
        return self.made.get(headers=headers)


def shown(plugin: str, good: bool, now: str) -> tuple[str | None, str]:
    """Header (None for any of the two that carry credentials) and value."""
    if plugin == "key-auth":
        return "apikey", "key" if good else "wrong"
    if plugin == "oauth2":
        return "x-token", "Bearer token" if good else "Bearer wrong"
    if plugin == "jwt":
        parts = [urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in ({"alg": "HS256"}, {"iss": "issuer"})]
        text = b".".join(parts)
        signature = urlsafe_b64encode(digest(b"secret" if good else b"wrong", text, "sha256")).rstrip(b"=")
        return "x-jwt", f"Bearer {(text + b'.' + signature).decode()}"
    if plugin == "hmac-auth":
        signature = b64encode(digest(b"secret" if good else b"wrong", f"date: {now}".encode(), "sha256"))
        return (
            None,
            f'hmac username="signer", algorithm="hmac-sha256", headers="date", signature="{signature.decode()}"',
        )
    user = "someone" if plugin == "ldap-auth" else "basic"
    pair = b64encode(f"{user}:{'good' if good else 'bad'}".encode()).decode()
    return None, f"{plugin.partition('-')[0]} {pair}" if plugin == "ldap-auth" else f"Basic {pair}"


def who(run: Run) -> str:
    """The consumer's name; that of the plugin for who has none but a credential."""
    assert run.status == 200, run
    headers = run.upstream.headers
    if "X-Consumer-Username" in headers:
        guest = headers["X-Consumer-Username"] == "guest"
        assert ("X-Anonymous-Consumer" in headers, "X-Credential-Identifier" in headers) == (guest, not guest)
        return str(headers["X-Consumer-Username"])
    assert headers["X-Credential-Identifier"] == "someone"
    assert "X-Consumer-ID" not in headers
    assert "X-Anonymous-Consumer" not in headers
    return "ldap-auth"


def challenged(run: Run) -> str:
    assert (run.status, run.upstreams) == (401, [])
    return str(run.response.headers["WWW-Authenticate"]).partition(" error=")[0]


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def strict(pair: tuple[str, str]) -> Iterator[Lab]:
    made = Lab(pair, None)
    yield made
    made.made.close()


@pytest.fixture(scope="module")
def open_to_guests(pair: tuple[str, str]) -> Iterator[Lab]:
    made = Lab(pair, "guest")
    yield made
    made.made.close()


class TestBoth:
    def test_the_last_one_says_who_it_is(self, strict: Lab, pair: tuple[str, str]) -> None:
        assert who(strict.ask(*pair)) == pair[1]
        assert who(strict.ask(*reversed(pair))) == pair[1]

    def test_the_first_that_fails_answers(self, strict: Lab, pair: tuple[str, str]) -> None:
        first, second = pair
        assert challenged(strict.ask()) == CHALLENGES[first]
        assert challenged(strict.ask(second)) == CHALLENGES[first]
        assert challenged(strict.ask(first)) == CHALLENGES[second]
        assert challenged(strict.ask(*pair, good=False)) == CHALLENGES[first]


class TestOneOfThem:
    def test_the_first_that_succeeds_says_who_it_is(self, open_to_guests: Lab, pair: tuple[str, str]) -> None:
        first, second = pair
        assert who(open_to_guests.ask(*pair)) == first
        assert who(open_to_guests.ask(*reversed(pair))) == first
        assert who(open_to_guests.ask(first)) == first
        assert who(open_to_guests.ask(second)) == second

    def test_all_others_are_guests(self, open_to_guests: Lab, pair: tuple[str, str]) -> None:
        assert who(open_to_guests.ask()) == "guest"
        assert who(open_to_guests.ask(*pair, good=False)) == "guest"


@pytest.mark.parametrize("plugin", ORDER)
def test_a_session_goes_on_for_whom_any_of_them_has_recognised(plugin: str) -> None:
    lab = Lab((plugin,), "guest")
    try:
        lab.made.use("session", on="route", secret="secret")
        cookies = lab.ask(plugin).response.headers.all("Set-Cookie")
        if plugin == "ldap-auth":  # there is no consumer
            assert cookies == []
            return
        (cookie,) = cookies
        assert who(lab.ask(cookie=cookie.partition(";")[0])) == plugin
    finally:
        lab.made.close()


@pytest.mark.parametrize("plugin", ORDER)
def test_a_session_replaces_none_that_must_succeed(plugin: str) -> None:
    lab = Lab((plugin,), None)
    try:
        lab.made.use("session", on="route", secret="secret")
        cookies = lab.ask(plugin).response.headers.all("Set-Cookie")
        cookie = cookies[0].partition(";")[0] if cookies else None
        assert challenged(lab.ask(cookie=cookie)) == CHALLENGES[plugin]
        assert who(lab.ask(plugin, cookie=cookie)) == plugin
    finally:
        lab.made.close()


@pytest.mark.parametrize("plugins", [ORDER, *PAIRS], ids="+".join)
def test_guests_can_be_refused(plugins: tuple[str, ...]) -> None:
    lab = Lab(plugins, "guest")
    try:
        guest = lab.made.store.dao("consumers").select_by("username", "guest")
        assert guest is not None
        lab.made.use("request-termination", on={"consumer": guest}, status_code=403, message="Who are you?")
        run = lab.ask()
        assert (run.status, run.response.json()) == (403, {"message": "Who are you?"})
        assert [who(lab.ask(name)) for name in plugins] == list(plugins)
    finally:
        lab.made.close()
