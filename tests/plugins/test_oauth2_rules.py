"""oauth2's lesser rules: global credentials, several redirect URIs, odd arguments, equal work for all refusals."""

import json
import time
from typing import Any
from urllib.parse import urlencode

import gevent
import pytest
from gevent.event import Event

from kong_gevent.plugins.oauth2 import OAuth2, grants
from tests.plugins.test_oauth2 import ALL, CHALLENGE, FORM, HTTPS, URI, VERIFIER, Lab, error, lab

__all__ = ["lab"]
BAD_CLIENT = (400, "invalid_client", "Invalid client authentication")
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


def second(made: Lab, **config: Any) -> dict[str, Any]:
    """Another service with a route `/second` and the plugin."""
    service = made.made.insert("services", name="second", host="second.test")
    made.made.insert("routes", paths=["/second"], service={"id": service["id"]})
    settings = {"provision_key": "p2", "accept_http_if_already_terminated": True, "pkce": "none", **ALL, **config}
    made.made.use("oauth2", on={"service": service}, **settings)
    return service


def ask_second(made: Lab, grant: str, **arguments: Any) -> Any:
    sent = urlencode({"grant_type": grant, "client_id": "id", "client_secret": "secret", **arguments})
    return made.made.post("/second/oauth2/token", sent, headers={**HTTPS, **FORM})


def send_json(made: Lab, which: str, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
    kind = {"Content-Type": "application/json"}
    return made.made.post(f"/oauth2/{which}", json.dumps(arguments), headers={**HTTPS, **kind, **(headers or {})})


class TestGlobalCredentials:
    def test_tokens_of_one_service_are_good_for_the_others(self, lab: Any) -> None:
        made = lab(global_credentials=True)
        second(made, global_credentials=True)
        body = made.issue()
        (row,) = made.made.store.dao("oauth2_tokens").each()
        assert row["service"] is None
        assert made.ask(body["access_token"], "/second").status == 200
        assert ask_second(made, "refresh_token", refresh_token=body["refresh_token"]).status == 200

    def test_codes_are_for_the_configuration_that_made_them(self, lab: Any) -> None:
        made = lab(global_credentials=True)
        second(made, global_credentials=True)
        code = made.code()
        assert error(ask_second(made, "authorization_code", code=code)) == (400, "invalid_request", "Invalid code")
        assert made.token(code=code).status == 200

    def test_refresh_tokens_of_another_service_are_unknown(self, lab: Any) -> None:
        made = lab()
        second(made)
        run = ask_second(made, "refresh_token", refresh_token=made.issue()["refresh_token"])
        assert error(run) == (400, "invalid_request", "Invalid refresh_token")


class TestScopes:
    @pytest.mark.parametrize("scope", [{"a": "b"}, 7, ["email"], True])
    def test_they_are_a_text(self, lab: Any, scope: Any) -> None:
        made = lab(scopes=["email"])
        run = send_json(
            made, "token", grant_type="client_credentials", client_id="id", client_secret="secret", scope=scope
        )
        assert error(run) == (400, "invalid_scope", "scope must be a string")

    def test_a_repeated_one_is_no_text(self, lab: Any) -> None:
        made = lab(scopes=["email"])
        sent = "grant_type=client_credentials&client_id=id&client_secret=secret&scope=email&scope=email"
        run = made.made.post("/oauth2/token", sent, headers={**HTTPS, **FORM})
        assert error(run) == (400, "invalid_scope", "scope must be a string")

    def test_without_any_configured_what_is_asked_for_counts_nothing(self, lab: Any) -> None:
        made = lab()
        run = made.ask(made.issue(scope="whatever")["access_token"])
        assert (run.status, "X-Authenticated-Scope" in run.upstream.headers) == (200, False)

    @pytest.mark.parametrize("grant", ["client_credentials", "password"])
    @pytest.mark.parametrize(("scope", "text"), [("x", '"x" is an invalid scope'), (None, "You must specify a scope")])
    def test_each_grant_checks_them(self, lab: Any, grant: str, scope: str | None, text: str) -> None:
        made = lab(scopes=["email"], mandatory_scope=True)
        run = made.token(grant, scope=scope, provision_key="p", authenticated_userid="u")
        assert error(run) == (400, "invalid_scope", text)

    def test_authorize_wants_one_where_that_is_mandatory(self, lab: Any) -> None:
        run = lab(scopes=["email"], mandatory_scope=True).authorize()
        assert error(run) == (400, "invalid_scope", "You must specify a scope")


class TestRedirectUris:
    def test_another_than_the_first_may_be_asked_for(self, lab: Any) -> None:
        made = lab()
        made.add_client(client_id="two", redirect_uris=[URI, "https://two.example/?x=1"])
        run = made.authorize(client_id="two", redirect_uri="https://two.example/?x=1")
        assert run.response.json()["redirect_uri"].startswith("https://two.example/?code=")
        assert made.authorize(client_id="two").response.json()["redirect_uri"].startswith(URI)

    def test_a_client_without_any_cannot_be_authorized(self, lab: Any) -> None:
        made = lab()
        made.add_client(client_id="none", redirect_uris=None)
        run = made.authorize(client_id="none")
        assert error(run) == BAD_CLIENT
        assert "redirect_uri" not in run.response.json()
        assert (
            error(made.token("password", client_id="none", provision_key="p", authenticated_userid="u")) == BAD_CLIENT
        )

    def test_an_error_of_the_implicit_grant_is_in_the_query(self, lab: Any) -> None:
        uri = lab(scopes=["email"]).authorize(response_type="token", scope="x").response.json()["redirect_uri"]
        assert uri.startswith(f"{URI}?error=invalid_scope&error_description=")

    def test_the_implicit_grant_has_no_refresh_token(self, lab: Any) -> None:
        made = lab(scopes=["email"])
        uri = made.authorize(response_type="token", scope="email").response.json()["redirect_uri"]
        assert "refresh" not in uri
        (row,) = made.made.store.dao("oauth2_tokens").each()
        assert (row["refresh_token"], row["scope"], row["authenticated_userid"]) == (None, "email", "u1")


class TestClientsOfTheTokenEndpoint:
    @pytest.mark.parametrize(
        "grant", ["x", "authorization_code", "client_credentials", "password", "refresh_token", None]
    )
    def test_an_unknown_one_is_told_before_all_else(self, lab: Any, grant: str | None) -> None:
        assert error(lab().token(grant, client_id="nobody")) == BAD_CLIENT

    def test_their_header_has_the_configured_name(self, lab: Any) -> None:
        made = lab(auth_header_name="X-Auth")
        pair = {"X-Auth": "bAsIc aWQ6c2VjcmV0OmFuZCBtb3Jl"}  # id:secret:and more: the first two parts count
        assert made.token("client_credentials", headers=pair).status == 200
        run = made.token("client_credentials", headers={"Authorization": pair["X-Auth"]})
        assert error(run) == BAD_CLIENT

    @pytest.mark.parametrize("value", ["Basic", "Basic !!", "Basic aWQ=", "Basic //8=", "Other aWQ6c2VjcmV0"])
    def test_a_header_that_cannot_be_read_is_none(self, lab: Any, value: str) -> None:
        run = lab().token("client_credentials", headers={"Authorization": value})
        assert error(run) == BAD_CLIENT
        assert "WWW-Authenticate" not in run.response.headers

    def test_parameters_come_before_the_header(self, lab: Any) -> None:
        made = lab()
        wrong = {"Authorization": "Basic aWQ6d3Jvbmc="}
        arguments = {"client_id": "id", "client_secret": "secret"}
        assert made.token("client_credentials", headers=wrong, **arguments).status == 200

    @pytest.mark.parametrize(
        ("client", "secret"),
        [("nobody", "s"), ("id", "wrong"), ("hashed", "wrong"), ("homeless", "right"), ("homeless", "wrong")],
    )
    def test_each_refusal_costs_one_hash(
        self, lab: Any, client: str, secret: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = lab()
        made.add_client(client_id="hashed", client_secret="right", hash_secret=True)
        made.add_client(client_id="homeless", client_secret="right", redirect_uris=None)
        hashed: list[str] = []
        matches = grants.matches
        monkeypatch.setattr(grants, "matches", lambda given, stored: hashed.append(stored) or matches(given, stored))
        assert error(made.token("password", client_id=client, client_secret=secret))[1] == "invalid_client"
        (stored,) = hashed
        assert len(stored) == len(grants.DECOY)
        assert stored.startswith("$pbkdf2-sha512$i=10000,l=32$")

    def test_guesses_leave_threads_to_others(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = lab().made
        given: list[str] = []
        go = Event()

        def wait(function: Any, secret: str, stored: str) -> bool:
            given.append(secret)
            go.wait()
            return False

        monkeypatch.setattr(made.kit, "offload", wait)
        guess = made.plugins["oauth2"]._grants._knows_secret
        guesses = [gevent.spawn(guess, None, str(number)) for number in range(5)]
        gevent.sleep(0)
        assert given == ["0", "1"]
        go.set()
        gevent.joinall(guesses)
        assert sorted(given) == ["0", "1", "2", "3", "4"]
        assert [each.value for each in guesses] == [False] * 5

    def test_nobody_knows_the_decoy(self) -> None:
        assert grants.is_hash(grants.DECOY)
        assert not grants.outdated(grants.DECOY)
        assert not grants.matches("", grants.DECOY)


class TestOddArguments:
    def test_forms_in_parts(self, lab: Any) -> None:
        given = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret", "state": "s"}
        parts = (
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in given.items()
        )
        run = lab().made.post("/oauth2/token", "".join(parts) + "--b--\r\n", headers={**HTTPS, **MULTIPART})
        assert (run.status, run.response.json()["state"]) == (200, "s")

    @pytest.mark.parametrize("body", ["{", "[]", "null", '"text"', '{"grant_type": {}}', '{"client_id": 1}'])
    def test_nonsense_is_refused(self, lab: Any, body: str) -> None:
        made = lab()
        kind = {"Content-Type": "application/json"}
        for which, expected in (("token", "invalid_client"), ("authorize", "invalid_provision_key")):
            run = made.made.post(f"/oauth2/{which}", body, headers={**HTTPS, **kind})
            assert (run.status, run.response.json()["error"]) == (400, expected)

    def test_a_verifier_is_a_text(self, lab: Any) -> None:
        made = lab()
        code = made.code(code_challenge=CHALLENGE)
        given = {"grant_type": "authorization_code", "client_id": "id", "client_secret": "secret", "code": code}
        run = send_json(made, "token", **given, code_verifier=7)
        assert error(run) == (400, "invalid_request", "code_verifier is not a string")
        assert send_json(made, "token", **given, code_verifier=VERIFIER).status == 200

    @pytest.mark.parametrize("path", ["/oauth2/token/x", "/oauth2/tokens", "/xoauth2/token"])
    def test_what_is_no_endpoint(self, lab: Any, path: str) -> None:
        run = lab().made.post(path, "", headers={**HTTPS, **FORM})
        assert error(run) == (401, "invalid_request", "The access token is missing")

    def test_errors_are_not_stored_and_state_comes_back(self, lab: Any) -> None:
        run = lab().token("x", state="a b")
        assert run.response.json()["state"] == "a b"
        assert (run.response.headers["Cache-Control"], run.response.headers["Pragma"]) == ("no-store", "no-cache")


class TestLife:
    def test_a_refresh_token_outlives_its_access_token(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = lab(token_expiration=10)
        body = made.issue()
        now = OAuth2.clock()
        monkeypatch.setattr(OAuth2, "clock", staticmethod(lambda: now + 12))
        assert made.ask(body["access_token"]).status == 401
        assert made.token("refresh_token", refresh_token=body["refresh_token"]).status == 200

    def test_zero_is_for_ever(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = lab(token_expiration=0)
        token = made.issue()["access_token"]
        now = OAuth2.clock()
        monkeypatch.setattr(OAuth2, "clock", staticmethod(lambda: now + 10 * 365 * 86400))
        assert made.ask(token).status == 200

    def test_a_used_refresh_token_keeps_user_and_scope(self, lab: Any) -> None:
        made = lab(scopes=["email"])
        first = made.issue(scope="email")
        token = made.token("refresh_token", refresh_token=first["refresh_token"]).response.json()["access_token"]
        headers = made.ask(token).upstream.headers
        assert (headers["X-Authenticated-Scope"], headers["X-Authenticated-Userid"]) == ("email", "u1")


class TestProtectedRequests:
    @pytest.mark.parametrize("value", ["Basic {}", "Bearer {} more", "Bearer", "{} {}"])
    def test_what_is_not_a_bearer_token_is_an_unknown_one(self, lab: Any, value: str) -> None:
        made = lab()
        token = made.issue()["access_token"]
        run = made.made.get(f"/?access_token={token}", headers={"Authorization": value.format(token, token)})
        assert error(run) == (401, "invalid_token", "The access token is invalid or has expired")

    @pytest.mark.parametrize("path", ["/?access_token=a&access_token=b", "/?access_token", "/"])
    def test_several_or_none_are_missing(self, lab: Any, path: str) -> None:
        assert error(lab().made.get(path)) == (401, "invalid_request", "The access token is missing")

    def test_in_json(self, lab: Any) -> None:
        made = lab()
        token = made.issue()["access_token"]
        for body, status in (({"access_token": token}, 200), ({"access_token": [token]}, 401)):
            run = made.made.post("/", json.dumps(body), headers={"Content-Type": "application/json"})
            assert run.status == status

    def test_not_in_the_body_of_a_delete(self, lab: Any) -> None:
        made = lab()
        token = made.issue()["access_token"]
        assert made.made.request("DELETE", "/", body=f"access_token={token}", headers=FORM).status == 401

    def test_what_a_token_does_not_say_the_client_cannot_add(self, lab: Any) -> None:
        made = lab()
        token = made.token("client_credentials").response.json()["access_token"]
        forged = {"X-Authenticated-Scope": "x", "X-Authenticated-UserId": "x", "X_Authenticated_UserId": "x"}
        headers = made.made.get(headers={"Authorization": f"Bearer {token}", **forged}).upstream.headers
        assert "x" not in (headers.get(name) for name in forged)


class TestHostileArguments:
    """What no text or entity can hold is refused as OAuth 2 has it."""

    @pytest.mark.parametrize("name", ["provision_key", "authenticated_userid", "client_secret", "scope", "state"])
    def test_half_a_surrogate_pair_is_no_text(self, lab: Any, name: str) -> None:
        made = lab()
        given = {"grant_type": "password", "provision_key": "p", "authenticated_userid": "u", "client_id": "id"}
        for which, arguments in (("token", given), ("authorize", {**given, "response_type": "code"})):
            run = send_json(made, which, **{**arguments, "client_secret": "secret", name: "\ud800"})
            assert run.status == 400, run.response.text

    @pytest.mark.parametrize("kind", ["code", "token"])
    def test_a_user_of_a_megabyte(self, lab: Any, kind: str) -> None:
        made = lab()
        run = made.authorize(authenticated_userid="u" * 1_000_000, response_type=kind)
        assert error(run)[:2] == (400, "invalid_request")
        run = made.token("password", provision_key="p", authenticated_userid="u" * 1_000_000)
        assert error(run)[:2] == (400, "invalid_request")
        assert list(made.made.store.dao("oauth2_tokens").each()) == []

    @pytest.mark.parametrize("state", [10**30, [[[1]]], {"a": None}, True, ""], ids=str)
    def test_a_state_of_any_kind_comes_back(self, lab: Any, state: Any) -> None:
        made = lab()
        arguments = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret", "state": state}
        assert send_json(made, "token", **arguments).response.json()["state"] == state

    def test_an_octet_that_is_no_utf_8(self, lab: Any) -> None:
        body = b'--b\r\nContent-Disposition: form-data; name="provision_key"\r\n\r\n\xff\r\n--b--'
        run = lab().made.post("/oauth2/authorize", body, headers={**HTTPS, **MULTIPART})
        assert error(run) == (400, "invalid_provision_key", "Invalid provision_key")


def test_a_life_of_less_than_a_second_is_not_for_ever(lab: Any) -> None:
    made = lab(token_expiration=0.5)
    body = made.issue()
    assert body["expires_in"] == 1
    made.made.plugins["oauth2"].clock = lambda: time.time() + 3
    assert made.ask(body["access_token"]).status == 401


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_who_is_recognised_otherwise_streams_on(lab: Any, chunked: bool) -> None:
    made = lab(anonymous="guest").made
    made.use("key-auth", anonymous="guest")
    made.insert("keyauth_credentials", consumer={"username": "ada"}, key="k")
    body = "file=" + "x" * (2 << 20)
    upstream = made.request("POST", "/", headers={**FORM, "apikey": "k"}, body=body, chunked=chunked).upstream
    assert (upstream.headers["X-Consumer-Username"], upstream.text) == ("ada", body)


def test_a_user_whose_name_no_field_can_hold(lab: Any) -> None:
    made = lab()
    token = made.issue(authenticated_userid="u\n1")["access_token"]
    assert made.ask(token).upstream.headers["X-Authenticated-UserId"] == "u%0A1"
