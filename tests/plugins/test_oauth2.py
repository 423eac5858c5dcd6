"""oauth2: all grants, PKCE, refreshing, protected requests, what clients and tokens look like in the Admin API."""

import base64
import json
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.oauth2 import GRANTS, OAuth2, grants
from kong_gevent.plugins.oauth2.flow import redirect_to
from kong_gevent.plugins.oauth2.hashing import PREFIX, hash_secret, matches
from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.integration.stores import LASTING, Stores, stores
from tests.integration.support import ask, client_of
from tests.upstream import Upstream
from tests.wire import wait_until

__all__ = ["stores"]
Make = Callable[..., InMemoryGateway]
HTTPS = {"X-Forwarded-Proto": "https"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
URI = "https://app.example/cb"
VERIFIER = "Zx7-kq3Pp0ab~LmN.9876543210_AbCdEfGhIjKlMnOp"
CHALLENGE = "Kt54iez80P50vsJ9K8WNoR1YZXMcgWO0nOLYi_JB6KY"
ALL = dict.fromkeys(GRANTS, True)


class Lab:
    """A gateway with oauth2, a consumer `ada` and her client."""

    def __init__(self, **config: Any) -> None:
        self.made = InMemoryGateway(trusted_ips="127.0.0.1")
        self.ada = self.made.consumer("ada", custom_id="c-7")
        self.made.consumer("guest")
        self.made.use(
            "oauth2",
            on=config.pop("on", "service"),
            **{"provision_key": "p", "accept_http_if_already_terminated": True, "pkce": "none", **ALL, **config},
        )
        self.client = self.add_client()

    def add_client(self, **fields: Any) -> dict[str, Any]:
        given = {"name": "app", "client_id": "id", "client_secret": "secret", "redirect_uris": [URI], **fields}
        return self.made.insert("oauth2_credentials", consumer={"id": self.ada["id"]}, **given)

    def post(self, which: str, headers: dict[str, str] | None = None, **arguments: Any) -> Run:
        sent = {name: value for name, value in arguments.items() if value is not None}
        return self.made.post(f"/x/oauth2/{which}", urlencode(sent), headers={**HTTPS, **FORM, **(headers or {})})

    def authorize(self, **arguments: Any) -> Run:
        given = {"provision_key": "p", "authenticated_userid": "u1", "client_id": "id", "response_type": "code"}
        return self.post("authorize", **{**given, **arguments})

    def code(self, **arguments: Any) -> str:
        run = self.authorize(**arguments)
        assert run.status == 200, run.response.text
        return parse_qs(urlsplit(run.response.json()["redirect_uri"]).query)["code"][0]

    def token(self, grant: str = "authorization_code", headers: dict[str, str] | None = None, **arguments: Any) -> Run:
        given: dict[str, Any] = {"client_id": "id", "client_secret": "secret"} if headers is None else {}
        return self.post("token", headers, grant_type=grant, **{**given, **arguments})

    def issue(self, **arguments: Any) -> dict[str, Any]:
        run = self.token(code=self.code(**arguments))
        assert run.status == 200, run.response.text
        body: dict[str, Any] = run.response.json()
        return body

    def ask(self, token: str, path: str = "/") -> Run:
        return self.made.get(path, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def lab() -> Any:
    made: list[Lab] = []

    def make(**config: Any) -> Lab:
        made.append(Lab(**config))
        return made[-1]

    yield make
    for each in made:
        each.made.close()


def error(run: Run) -> tuple[int, str, str]:
    """Status, error and text of an answer, also of one in a redirect URI."""
    body = run.response.json()
    if "redirect_uri" in body:
        query = parse_qs(urlsplit(body["redirect_uri"]).query)
        return run.status, query["error"][0], query["error_description"][0]
    return run.status, body["error"], body["error_description"]


# --- authorize -------------------------------------------------------------------------------------------------------


def test_a_code_is_handed_over_by_the_redirect_uri(lab: Any) -> None:
    made = lab()
    run = made.authorize(state="a b/c")
    assert run.status == 200
    assert (run.response.headers["Cache-Control"], run.response.headers["Pragma"]) == ("no-store", "no-cache")
    uri = run.response.json()["redirect_uri"]
    assert uri.startswith(URI + "?code=")
    assert uri.endswith("&state=a%20b%2fc")
    assert list(run.response.json()) == ["redirect_uri"]
    assert run.upstreams == []


def test_a_token_is_handed_over_in_the_fragment(lab: Any) -> None:
    uri = lab().authorize(response_type="token", state="s").response.json()["redirect_uri"]
    head, _, fragment = uri.partition("#")
    found = parse_qs(fragment)
    assert head == URI
    assert list(found) == ["access%5ftoken".replace("%5f", "_"), "expires_in", "state", "token_type"]
    assert (found["expires_in"], found["token_type"]) == (["7200"], ["bearer"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"provision_key": "x"}, ("invalid_provision_key", "Invalid provision_key")),
        ({"provision_key": None}, ("invalid_provision_key", "Invalid provision_key")),
        ({"authenticated_userid": None}, ("invalid_authenticated_userid", "Missing authenticated_userid parameter")),
        ({"authenticated_userid": " "}, ("invalid_authenticated_userid", "Missing authenticated_userid parameter")),
        ({"response_type": "x"}, ("unsupported_response_type", "Invalid response_type")),
        ({"response_type": None}, ("unsupported_response_type", "Invalid response_type")),
        ({"scope": "email x"}, ("invalid_scope", '"x" is an invalid scope')),
        ({"response_type": "x", "scope": "x"}, ("invalid_scope", '"x" is an invalid scope')),
        ({"client_id": "other"}, ("invalid_client", "Invalid client authentication")),
        ({"client_id": None, "scope": "x"}, ("invalid_client", "Invalid client authentication")),
        (
            {"redirect_uri": "https://evil.example/"},
            (
                "invalid_request",
                "Invalid redirect_uri that does not match with any redirect_uri created with the application",
            ),
        ),
        (
            {"code_challenge_method": "S256"},
            ("invalid_request", "code_challenge is required when code_method is present"),
        ),
        (
            {"code_challenge": CHALLENGE, "code_challenge_method": "plain"},
            ("invalid_request", "code_challenge_method is not supported, must be S256"),
        ),
    ],
)
def test_what_authorize_refuses(lab: Any, arguments: dict[str, Any], expected: tuple[str, str]) -> None:
    run = lab(scopes=["email", "profile"]).authorize(state="s", **arguments)
    assert error(run) == (400, *expected)
    assert "state" in run.response.text
    uri = run.response.json().get("redirect_uri")
    assert uri is None or uri.startswith(URI)


@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        ("lax", "public", "code_challenge is required for public clients"),
        ("strict", "public", "code_challenge is required for public clients"),
        ("strict", "confidential", "code_challenge is required for confidential clients"),
        ("lax", "confidential", None),
        ("none", "public", None),
    ],
)
def test_who_needs_pkce(lab: Any, mode: str, kind: str, text: str | None) -> None:
    made = lab(pkce=mode)
    made.add_client(client_id="other", client_type=kind)
    run = made.authorize(client_id="other")
    if text is None:
        assert run.status == 200
    else:
        assert error(run) == (400, "invalid_request", text)


@pytest.mark.parametrize("name", GRANTS[:2])
def test_grants_can_be_switched_off(lab: Any, name: str) -> None:
    made = lab(**{**ALL, name: False})
    kind = "code" if name == "enable_authorization_code" else "token"
    assert error(made.authorize(response_type=kind))[1] == "unsupported_response_type"


@pytest.mark.parametrize(
    ("headers", "settings", "text"),
    [
        ({"X-Forwarded-Proto": "http"}, {}, "You must use HTTPS"),
        ({"X-Forwarded-Proto": "https, http"}, {}, "Only one X-Forwarded-Proto header allowed"),
        (HTTPS, {"accept_http_if_already_terminated": False}, "You must use HTTPS"),
    ],
)
def test_only_https(lab: Any, headers: dict[str, str], settings: dict[str, Any], text: str) -> None:
    made = lab(**settings)
    for which in ("authorize", "token"):
        assert error(made.post(which, headers)) == (400, "access_denied", text)


def test_an_untrusted_proxy_does_not_count(lab: Any) -> None:
    made = lab()
    made.made.peer = ("10.0.0.1", 1)
    assert error(made.authorize()) == (400, "access_denied", "You must use HTTPS")


@pytest.mark.parametrize(("which", "name"), [("token", "token"), ("authorize", "authorization"), ("token/", "token")])
def test_only_post(lab: Any, which: str, name: str) -> None:
    run = lab(realm="r").made.get(f"/a/b/oauth2/{which}", headers=HTTPS)
    text = f"The HTTP method GET is invalid for the {name} endpoint"
    assert error(run) == (405, "invalid_method", text)
    expected = f'Bearer realm="r" error="invalid_method" error_description="{text}"'
    assert run.response.headers["WWW-Authenticate"] == expected


def test_arguments_may_be_json_or_in_the_query_and_the_body_wins(lab: Any) -> None:
    made = lab()
    body = json.dumps({"provision_key": "p", "client_id": "id", "response_type": "code"})
    run = made.made.post(
        "/oauth2/authorize?authenticated_userid=u&client_id=wrong",
        body,
        headers={**HTTPS, "Content-Type": "application/json"},
    )
    assert run.status == 200


# --- token -----------------------------------------------------------------------------------------------------------


def test_a_code_becomes_a_token_once(lab: Any) -> None:
    made = lab()
    code = made.code()
    run = made.token(code=code, state="s")
    body = run.response.json()
    assert run.status == 200
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "state"}
    assert (len(body["access_token"]), len(body["refresh_token"])) == (32, 32)
    assert run.response.headers["Cache-Control"] == "no-store"
    assert error(made.token(code=code)) == (400, "invalid_request", "Invalid code")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"grant": "x"}, ("unsupported_grant_type", "Invalid grant_type")),
        ({"code": "x"}, ("invalid_request", "Invalid code")),
        ({"code": None}, ("invalid_request", "Invalid code")),
        ({"client_secret": "x"}, ("invalid_client", "Invalid client authentication")),
        ({"client_secret": None}, ("invalid_client", "Invalid client authentication")),
        ({"client_id": "x"}, ("invalid_client", "Invalid client authentication")),
        (
            {"redirect_uri": "https://evil.example"},
            (
                "invalid_request",
                "Invalid redirect_uri that does not match with any redirect_uri created with the application",
            ),
        ),
    ],
)
def test_what_token_refuses(lab: Any, arguments: dict[str, Any], expected: tuple[str, str]) -> None:
    made = lab()
    given = {"code": made.code(), **arguments}
    run = made.token(given.pop("grant", "authorization_code"), **given)
    assert error(run) == (400, *expected)
    assert "WWW-Authenticate" not in run.response.headers


def test_clients_may_use_basic_authentication(lab: Any) -> None:
    made = lab()

    def header(text: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    assert made.token(headers=header("id:secret"), code=made.code()).status == 200
    run = made.token(headers=header("id:wrong"), code=made.code())
    assert error(run) == (401, "invalid_client", "Invalid client authentication")
    assert run.response.headers["WWW-Authenticate"] == 'Basic realm="OAuth2.0"'


def test_codes_belong_to_one_client_and_one_service(lab: Any) -> None:
    made = lab()
    made.add_client(client_id="other", client_secret="s2")
    code = made.code()
    run = made.token(code=code, client_id="other", client_secret="s2")
    assert error(run) == (400, "invalid_request", "Invalid code")
    service = made.made.insert("services", name="second", host="second.test")
    made.made.insert("routes", paths=["/second"], service={"id": service["id"]})
    made.made.use("oauth2", on={"service": service}, provision_key="p2", accept_http_if_already_terminated=True, **ALL)
    sent = urlencode({"grant_type": "authorization_code", "code": code, "client_id": "id", "client_secret": "secret"})
    run = made.made.post("/second/oauth2/token", sent, headers={**HTTPS, **FORM})
    assert error(run) == (400, "invalid_request", "Invalid code")
    assert made.token(code=code).status == 200


class TestPkce:
    @pytest.mark.parametrize("challenge", [CHALLENGE, CHALLENGE.replace("_", "/") + "="])
    def test_the_verifier_belongs_to_the_challenge(self, lab: Any, challenge: str) -> None:
        made = lab(pkce="strict")
        code = made.code(code_challenge=challenge, code_challenge_method="s256")
        assert made.token(code=code, code_verifier=VERIFIER).status == 200

    @pytest.mark.parametrize(
        ("verifier", "expected"),
        [
            (None, ("invalid_request", "code_verifier is required for PKCE authorization requests")),
            ("x" * 42, ("invalid_request", "code_verifier must be between 43 and 128 characters")),
            ("x" * 129, ("invalid_request", "code_verifier must be between 43 and 128 characters")),
            ("x" * 43, ("invalid_grant", "Invalid code")),
        ],
    )
    def test_other_verifiers_are_refused(self, lab: Any, verifier: str | None, expected: tuple[str, str]) -> None:
        made = lab()
        code = made.code(code_challenge=CHALLENGE)
        assert error(made.token(code=code, code_verifier=verifier)) == (400, *expected)

    def test_public_clients_have_no_secret(self, lab: Any) -> None:
        made = lab(pkce="lax")
        made.add_client(client_id="pub", client_type="public")
        code = made.code(client_id="pub", code_challenge=CHALLENGE)
        run = made.token(code=code, client_id="pub", client_secret="x", code_verifier=VERIFIER)
        assert error(run) == (400, "invalid_request", "client_secret is disallowed for public clients")
        assert made.token(code=code, client_id="pub", client_secret=None, code_verifier=VERIFIER).status == 200


class TestOtherGrants:
    def test_client_credentials(self, lab: Any) -> None:
        made = lab(scopes=["email"], mandatory_scope=True)
        assert error(made.token("client_credentials")) == (400, "invalid_scope", "You must specify a scope")
        run = made.token("client_credentials", scope="email")
        assert set(run.response.json()) == {"access_token", "token_type", "expires_in"}
        bad = made.token("client_credentials", scope="email", authenticated_userid="u")
        assert error(bad) == (400, "invalid_provision_key", "Invalid provision_key")
        good = made.token("client_credentials", scope="email", authenticated_userid="u", provision_key="p")
        assert made.ask(good.response.json()["access_token"]).upstream.headers["X-Authenticated-Userid"] == "u"

    def test_client_credentials_need_no_redirect_uri(self, lab: Any) -> None:
        made = lab()
        made.add_client(client_id="machine", redirect_uris=None)
        assert made.token("client_credentials", client_id="machine").status == 200

    def test_password(self, lab: Any) -> None:
        made = lab()
        assert error(made.token("password"))[1] == "invalid_provision_key"
        assert error(made.token("password", provision_key="p"))[1] == "invalid_authenticated_userid"
        run = made.token("password", provision_key="p", authenticated_userid="u1")
        assert "refresh_token" in run.response.json()

    @pytest.mark.parametrize(
        ("setting", "grant"),
        [
            ("enable_authorization_code", "authorization_code"),
            ("enable_client_credentials", "client_credentials"),
            ("enable_password_grant", "password"),
        ],
    )
    def test_grants_can_be_switched_off(self, lab: Any, setting: str, grant: str) -> None:
        made = lab(**{**ALL, setting: False})
        assert error(made.token(grant)) == (400, "unsupported_grant_type", "Invalid grant_type")


class TestRefreshing:
    def test_a_refresh_token_is_good_once(self, lab: Any) -> None:
        made = lab()
        first = made.issue()
        run = made.token("refresh_token", refresh_token=first["refresh_token"])
        second = run.response.json()
        assert run.status == 200
        assert second["access_token"] != first["access_token"]
        assert second["refresh_token"] != first["refresh_token"]
        assert made.ask(first["access_token"]).status == 401
        assert made.ask(second["access_token"]).status == 200
        again = made.token("refresh_token", refresh_token=first["refresh_token"])
        assert error(again) == (400, "invalid_request", "Invalid refresh_token")

    def test_or_as_often_as_wanted(self, lab: Any) -> None:
        made = lab(reuse_refresh_token=True)
        first = made.issue()
        for _ in range(2):
            body = made.token("refresh_token", refresh_token=first["refresh_token"]).response.json()
            assert body["refresh_token"] == first["refresh_token"]
            assert made.ask(body["access_token"]).status == 200
        assert made.ask(first["access_token"]).status == 401

    def test_while_it_is_revoked(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = lab(reuse_refresh_token=True)
        token = made.issue()["refresh_token"]

        def revoked_meanwhile() -> str:
            tokens = made.made.store.dao("oauth2_tokens")
            assert tokens.delete_by("refresh_token", token)
            return "x" * 32

        monkeypatch.setattr(grants, "new_token", revoked_meanwhile)
        run = made.token("refresh_token", refresh_token=token)
        assert error(run) == (400, "invalid_request", "Invalid refresh_token")

    def test_of_another_client(self, lab: Any) -> None:
        made = lab()
        made.add_client(client_id="other", client_secret="s2")
        token = made.issue()["refresh_token"]
        run = made.token("refresh_token", refresh_token=token, client_id="other", client_secret="s2")
        assert error(run) == (400, "invalid_client", "Invalid client authentication")

    def test_scopes_must_still_be_there(self, lab: Any) -> None:
        made = lab(scopes=["email", "profile"])
        token = made.issue(scope="email")["refresh_token"]
        (plugin,) = made.made.store.dao("plugins").each()
        made.made.update("plugins", plugin["id"], config={"scopes": ["profile"]})
        run = made.token("refresh_token", refresh_token=token)
        assert error(run) == (400, "invalid_scope", "Scope mismatch")

    @pytest.mark.parametrize(
        ("settings", "ttl"),
        [
            ({}, 1209600),
            ({"refresh_token_ttl": 100}, 100),
            ({"refresh_token_ttl": 0}, None),
            ({"token_expiration": 0}, None),
        ],
    )
    def test_how_long_rows_are_kept(self, lab: Any, settings: dict[str, Any], ttl: int | None) -> None:
        made = lab(**settings)
        body = made.issue()
        assert ("expires_in" in body) == ("token_expiration" not in settings)
        (row,) = made.made.store.dao("oauth2_tokens").each()
        assert row.get("ttl") is None if ttl is None else ttl - 5 <= row["ttl"] <= ttl


# --- protected requests ----------------------------------------------------------------------------------------------


def test_the_upstream_is_told_who_asks(lab: Any) -> None:
    made = lab(scopes=["email", "profile"])
    token = made.issue(scope=" email   profile ")["access_token"]
    run = made.ask(token)
    assert run.status == 200
    headers = run.upstream.headers
    assert headers["X-Consumer-Username"] == "ada"
    assert headers["X-Consumer-Custom-Id"] == "c-7"
    assert headers["X-Credential-Identifier"] == "id"
    assert headers["X-Authenticated-Scope"] == "email profile"
    assert headers["X-Authenticated-Userid"] == "u1"


def test_clients_cannot_say_so_themselves(lab: Any) -> None:
    made = lab(anonymous="guest")
    run = made.made.get(headers={"X-Authenticated-Scope": "x", "X-Authenticated-Userid": "x"})
    assert "X-Authenticated-Scope" not in run.upstream.headers
    assert "X-Authenticated-Userid" not in run.upstream.headers
    assert run.upstream.headers["X-Anonymous-Consumer"] == "true"


@pytest.mark.parametrize("way", ["Bearer {}", "bearer {}", "Token {}", "{}"])
def test_where_the_token_may_be(lab: Any, way: str) -> None:
    made = lab(auth_header_name="X-Token")
    token = made.issue()["access_token"]
    assert made.made.get(headers={"X-Token": way.format(token)}).status == 200


def test_in_the_query_or_the_body(lab: Any) -> None:
    made = lab(hide_credentials=True)
    token = made.issue()["access_token"]
    run = made.made.get(f"/?a=1&access_token={token}")
    assert (run.status, run.upstream.target) == (200, "/?a=1")
    run = made.made.post("/", f"access_token={token}&b=2", headers=FORM)
    assert (run.status, run.upstream.body) == (200, b"b=2")
    run = made.ask(token)
    assert "Authorization" not in run.upstream.headers


@pytest.mark.parametrize("realm", [None, "r"])
def test_challenges(lab: Any, realm: str | None) -> None:
    made = lab(realm=realm)
    shown = 'Bearer realm="r"' if realm else "Bearer"
    run = made.made.get()
    assert error(run) == (401, "invalid_request", "The access token is missing")
    assert run.response.headers["WWW-Authenticate"] == shown
    run = made.ask("nonsense")
    text = "The access token is invalid or has expired"
    assert error(run) == (401, "invalid_token", text)
    assert run.response.headers["WWW-Authenticate"] == f'{shown} error="invalid_token" error_description="{text}"'
    assert "request_id" not in run.response.text


def test_tokens_expire(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab(token_expiration=10)
    body = made.issue()
    assert made.ask(body["access_token"]).status == 200
    now = OAuth2.clock()
    monkeypatch.setattr(OAuth2, "clock", staticmethod(lambda: now + 12))
    assert error(made.ask(body["access_token"]))[1] == "invalid_token"


def test_tokens_of_other_services_and_global_ones(lab: Any) -> None:
    made = lab()
    second = made.made.insert("services", name="second", host="second.test")
    made.made.insert("routes", paths=["/second"], service={"id": second["id"]})
    made.made.use("oauth2", on={"service": second}, global_credentials=True, **ALL)
    assert error(made.ask(made.issue()["access_token"], "/second"))[1] == "invalid_token"
    free = made.made.insert("oauth2_tokens", credential={"id": made.client["id"]}, expires_in=100)["access_token"]
    assert made.ask(free, "/second").status == 200
    run = made.ask(free)
    text = "The access token is global, but the current plugin is configured without 'global_credentials'"
    assert error(run) == (401, "invalid_token", text)


def test_a_global_token_is_refused_even_where_guests_are_welcome(lab: Any) -> None:
    made = lab(anonymous="guest")
    free = made.made.insert("oauth2_tokens", credential={"id": made.client["id"]}, expires_in=100)["access_token"]
    run = made.ask(free)
    assert (run.status, run.upstreams) == (401, [])
    assert made.ask("nonsense").status == 200


def test_tokens_go_with_their_client(lab: Any) -> None:
    made = lab()
    token = made.issue()["access_token"]
    made.made.delete("oauth2_credentials", made.client["id"])
    assert made.ask(token).status == 401
    assert list(made.made.store.dao("oauth2_tokens").each()) == []


# --- secrets and entities --------------------------------------------------------------------------------------------


def test_hashed_secrets(lab: Any) -> None:
    salt = bytes(range(16))
    hashed = "$pbkdf2-sha512$i=10000,l=32$AAECAwQFBgcICQoLDA0ODw$UT4kWzsF8k1a/UpLQDuw9WsO4WUisSYM1J8Qx+sN/2o"
    assert hash_secret("client-secret-xyz", salt) == hashed
    assert matches("client-secret-xyz", hashed)
    assert not matches("other", hashed)
    made = lab()
    client = made.add_client(client_id="hashed", client_secret="client-secret-xyz", hash_secret=True)
    assert client["client_secret"].startswith(PREFIX)
    assert made.token("client_credentials", client_id="hashed", client_secret="client-secret-xyz").status == 200
    assert made.token("client_credentials", client_id="hashed", client_secret="wrong").status == 400
    stored = made.made.store.dao("oauth2_credentials").select(client["id"])["client_secret"]
    assert error(made.token("client_credentials", client_id="hashed", client_secret=stored))[1] == "invalid_client"


@pytest.mark.parametrize("path", ["/consumers/ada/oauth2", "/oauth2"])
def test_a_hashed_secret_is_shown_once(lab: Any, path: str) -> None:
    admin, sent = lab().made.admin, {"name": "n", "client_id": "c", "client_secret": "own", "hash_secret": True}
    made = admin("POST", path, json={**sent, "consumer": {"username": "ada"}})
    assert (made.status_code, made.json["client_secret"]) == (201, "own")
    found = admin("GET", "/oauth2/c").json
    assert matches("own", found["client_secret"])
    assert {**made.json, "client_secret": found["client_secret"]} == found
    generated = admin("POST", path, json={"name": "n", "hash_secret": True, "consumer": {"username": "ada"}}).json
    assert generated["client_secret"].startswith(PREFIX), "what was not sent is not told"
    assert admin("PUT", "/consumers/ada/oauth2/c", json=sent).json["client_secret"].startswith(PREFIX)


def with_old_hash(made: Lab) -> dict[str, Any]:
    """A client `old` whose secret is kept as a hash with other parameters than today's."""
    import hashlib

    derived = hashlib.pbkdf2_hmac("sha512", b"secret", b"0" * 16, 1000, 32)
    text = base64.b64encode(derived).rstrip(b"=").decode()
    old = f"$pbkdf2-sha512$i=1000,l=32${base64.b64encode(b'0' * 16).rstrip(b'=').decode()}${text}"
    dao = made.made.store.dao("oauth2_credentials")
    client = made.add_client(client_id="old", hash_secret=True)
    row = {**dao.select(client["id"]), "client_secret": old}
    from kong_gevent.db import rows
    from kong_gevent.db.strategies.base import Put

    found = made.made.store.strategy.read("oauth2_credentials", client["id"])
    index = rows.index_of(dao.entity, row)
    made.made.store.strategy.commit(
        [Put(found.kind, found.id, rows.encode(row), index, found.version)], [], made.made.store.origin
    )
    made.made.kit._cache.clear()
    return client


def test_a_hash_of_old_parameters_is_renewed(lab: Any) -> None:
    made = lab()
    client = with_old_hash(made)
    assert made.token("client_credentials", client_id="old").status == 200
    assert made.made.store.dao("oauth2_credentials").select(client["id"])["client_secret"].startswith(PREFIX)


def test_a_secret_that_changes_meanwhile_is_not_brought_back(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab()
    client = with_old_hash(made)

    def slowly(function: Callable[..., Any], *arguments: Any) -> Any:
        if arguments[0] == "secret":
            made.made.update("oauth2_credentials", client["id"], client_secret="another", hash_secret=True)
        return function(*arguments)

    monkeypatch.setattr(made.made.kit, "offload", slowly)
    assert made.token("client_credentials", client_id="old").status == 200  # it was still the right one when asked
    assert error(made.token("client_credentials", client_id="old"))[1] == "invalid_client"
    assert made.token("client_credentials", client_id="old", client_secret="another").status == 200


@pytest.mark.parametrize("patch", [{"client_secret": "x"}, {"hash_secret": True}])
def test_secret_and_its_form_change_together(lab: Any, patch: dict[str, Any]) -> None:
    made = lab()
    with pytest.raises(SchemaViolation) as caught:
        made.made.update("oauth2_credentials", made.client["id"], **patch)
    text = "all or none of these fields must be set: 'hash_secret', 'client_secret'"
    assert caught.value.fields == {"@entity": [text]}
    changed = made.made.update("oauth2_credentials", made.client["id"], client_secret="x", hash_secret=True)
    assert changed["client_secret"].startswith(PREFIX)
    assert (
        made.made.update("oauth2_credentials", made.client["id"], name="n")["client_secret"] == changed["client_secret"]
    )


@pytest.mark.parametrize(
    ("uris", "text"),
    [
        (["nonsense"], "cannot parse 'nonsense'"),
        (["/relative"], "cannot parse '/relative'"),
        (["https://a.example/#x"], "fragment not allowed in 'https://a.example/#x'"),
    ],
)
def test_redirect_uris(lab: Any, uris: list[str], text: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        lab().add_client(client_id="n", redirect_uris=uris)
    assert text in str(caught.value)


def test_the_admin_api_has_clients_and_tokens_but_no_codes(lab: Any) -> None:
    made = lab()
    admin = made.made.admin
    created = admin("POST", "/consumers/ada/oauth2", json={"name": "new"})
    assert created.status_code == 201
    assert len(created.json["client_id"]) == 32
    assert created.json["client_type"] == "confidential"
    token = admin("PUT", "/oauth2_tokens/mytoken", json={"expires_in": 5, "credential": {"id": created.json["id"]}})
    assert (token.status_code, token.json["access_token"]) == (200, "mytoken")
    bad = admin("POST", "/oauth2_tokens", json={})
    assert bad.json["fields"] == {"credential": "required field missing", "expires_in": "required field missing"}
    assert admin("GET", "/oauth2_authorization_codes").status_code == 404


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "at least one of these fields must be true: enable_authorization_code, enable_implicit_grant, "),
        ({**ALL, "mandatory_scope": True}, "required field missing"),
        ({**ALL, "pkce": "x"}, "expected one of: none, lax, strict"),
        ({**ALL, "refresh_token_ttl": -1}, "value should be between 0 and 100000000"),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("oauth2", **config)
    assert text in str(caught.value.fields)


def test_redirect_uris_are_built_as_kong_does() -> None:
    uri = redirect_to("https://app.example/cb?x=1", {"code": "abc", "state": "a b/c"})
    assert uri == "https://app.example/cb?code=abc&state=a%20b%2fc&x=1"
    values = {"access_token": "t", "expires_in": 7200, "token_type": "bearer", "state": "s"}
    uri = redirect_to("https://app.example/cb", values, fragment=True)
    assert uri == "https://app.example/cb#access_token=t&expires_in=7200&state=s&token_type=bearer"


# --- several nodes -----------------------------------------------------------------------------------------------


@pytest.fixture(params=LASTING)
def two_nodes(
    request: pytest.FixtureRequest, make_gateway: Callable[..., Gateway], stores: Stores, tmp_path: Path
) -> list[Gateway]:
    """Two nodes of two workers on one datastore."""
    store = stores(request.param)
    own = {name: value for name, value in store.settings.items() if name != "KONG_PREFIX"}
    settings = {"KONG_TRUSTED_IPS": "127.0.0.1", "KONG_SQLITE_PATH": str(tmp_path / "shared.sqlite3"), **own}
    if request.param != "sqlite":
        store.done("migrations", "bootstrap")
    return [make_gateway(workers=2, env=settings) for _ in range(2)]


def test_of_fifty_who_show_the_same_code_or_refresh_token_one_gets_a_token(
    two_nodes: list[Gateway], upstream: Upstream
) -> None:
    first = two_nodes[0]
    route = first.route(upstream.url)
    service = route["service"]["id"]
    config = {"accept_http_if_already_terminated": True, "provision_key": "p", "enable_authorization_code": True}
    first.create(f"/services/{service}/plugins", name="oauth2", config=config)
    first.create("/consumers", username="ada")
    first.create("/consumers/ada/oauth2", name="app", client_id="id", client_secret="secret", redirect_uris=[URI])
    arguments = {"provision_key": "p", "authenticated_userid": "u", "client_id": "id", "response_type": "code"}
    answer = requests.post(f"{first.proxy_url}/oauth2/authorize", data=arguments, headers=HTTPS, timeout=10)
    assert answer.status_code == 200, answer.text
    code = parse_qs(urlsplit(answer.json()["redirect_uri"]).query)["code"][0]
    asked = {"grant_type": "authorization_code", "code": code, "client_id": "id", "client_secret": "secret"}
    # A worker that has heard of the route and not yet of the plugin would let the upstream answer.
    with ExitStack() as stack:
        workers = [stack.enter_context(client_of(node, pid)) for node in two_nodes for pid in node.worker_pids()]
        wait_until(lambda: all(ask(worker, "GET", "/").status == 401 for worker in workers))

    def exchange(number: int) -> requests.Response:
        node = two_nodes[number % 2]
        return requests.post(f"{node.proxy_url}/oauth2/token", data=asked, headers=HTTPS, timeout=90)

    def the_one_of_fifty() -> dict[str, str]:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(exchange, range(50)))
        said = [(answer.status_code, answer.text) for answer in answers]
        given = [text for status, text in said if status == 200]
        refused = [text for status, text in said if status == 400 and '"invalid_request"' in text]
        assert (len(given), len(refused)) == (1, 49), said
        body: dict[str, str] = json.loads(given[0])
        assert body["access_token"], body
        return body

    made = the_one_of_fifty()
    asked = {**asked, "grant_type": "refresh_token", "refresh_token": made["refresh_token"]}
    token = the_one_of_fifty()["access_token"]
    for node in two_nodes:
        answer = requests.get(f"{node.proxy_url}/", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code == 200, answer.text


def test_over_tls_no_proxy_needs_to_be_believed(upstream: Upstream) -> None:
    (port,) = free_ports(1)
    with Gateway(start=False) as gateway:
        gateway.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        gateway.start()
        gateway.route(upstream.url, service={"name": "example"})
        gateway.create("/services/example/plugins", name="oauth2", config={"enable_client_credentials": True})
        gateway.create("/consumers", username="ada")
        gateway.create("/consumers/ada/oauth2", name="app", client_id="id", client_secret="secret")
        asked = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
        answer = requests.post(f"{gateway.proxy_url}/oauth2/token", data=asked, headers=HTTPS, timeout=10)
        assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        with closing(HTTPSConnection(LOOPBACK, port, timeout=10, context=unverified)) as client:
            client.request("POST", "/oauth2/token", urlencode(asked), FORM)
            response = client.getresponse()
            token = json.load(response)["access_token"]
            assert response.status == 200
            client.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
            assert client.getresponse().status == 200
