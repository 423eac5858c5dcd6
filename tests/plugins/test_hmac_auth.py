"""hmac-auth: what is signed and how, dates, bodies, and what is refused."""

from base64 import b64encode
from collections.abc import Callable
from hmac import digest
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins import hmac_auth
from kong_gevent.plugins.hmac_auth import (
    MAX_BODY,
    MAX_KEPT,
    MAX_NAMES,
    NO_DATE,
    NO_MATCH,
    NOT_VERIFIED,
    parsed,
    seconds_of,
)

Make = Callable[..., InMemoryGateway]
DATE, NOW = "Sat, 14 Mar 2026 15:09:26 GMT", 1773500966
PATH = "/fruits/42?fields=name,price"
SIGNED = f"date: {DATE}\nx-tenant: blue\nGET {PATH} HTTP/1.1"
SIGNATURES = {
    "hmac-sha1": "8e4FEr/wERVrKh7zyuo05MJ1nBI=",
    "hmac-sha256": "0B5t119SC+EPMvEd1kEZjj5rmTIQgz6Gsf6jyb3sen4=",
    "hmac-sha384": "HyQt++eFkvyDIC9/Wu476tZyINFys5ZG/JyeRx6mQAiJOUNKq6mpr6adb4N3xZfo",
    "hmac-sha512": "brSvfr8/YHuSCBNSZ7dQzqk3c2rPneezZA2aXTsuFIKmJ8Jlkh5FlMnb2n+caD34HgumwY3elWPb9QUVOClIbw==",
}
PEAR = '{"name":"pear"}'
PEARS_DIGEST = "SHA-256=xTxUJ2SQsSisGyfAzSVa8CWoG57WGIauUfwDKr4MmF4="
EMPTY_DIGEST = "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def authorization(signature: str, *, headers: str = "date x-tenant request-line", **changes: str) -> str:
    said = {"username": "ada", "algorithm": "hmac-sha256", **changes}
    return (
        f'hmac username="{said["username"]}", algorithm="{said["algorithm"]}", headers="{headers}", '
        f'signature="{signature}"'
    )


def sign(text: str) -> str:
    return b64encode(digest(b"orange-key", text.encode(), "sha256")).decode()


@pytest.fixture
def gateway(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(hmac_auth, "time", lambda: NOW)

    def make(**config: Any) -> InMemoryGateway:
        made = plugin("hmac-auth", **config)
        made.consumer("Ada")
        made.insert("hmacauth_credentials", username="ada", secret="orange-key", consumer={"username": "Ada"})
        return made

    return make


def ask(made: InMemoryGateway, value: str, **headers: str) -> Run:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return made.get(PATH, headers={"Date": DATE, "X-Tenant": "blue", "Authorization": value, **given})


def refused(run: Run, message: str, challenge: str = "hmac") -> None:
    assert run.upstreams == []
    assert (run.status, run.response.json()["message"]) == (401, message)
    assert run.response.headers["WWW-Authenticate"] == challenge
    assert run.response.json()["request_id"]


@pytest.mark.parametrize("algorithm", SIGNATURES)
def test_every_algorithm(gateway: Make, algorithm: str) -> None:
    value = authorization(SIGNATURES[algorithm], algorithm=algorithm)
    upstream = ask(gateway(), value).upstream
    assert upstream.headers["X-Consumer-Username"] == "Ada"
    assert upstream.headers["X-Credential-Identifier"] == "ada"
    assert upstream.headers["Authorization"] == value
    others = [other for other in SIGNATURES if other != algorithm]
    refused(ask(gateway(algorithms=others), value), NOT_VERIFIED)


def test_request_target_and_headers_that_are_missing(gateway: Make) -> None:
    value = authorization("qohSunJ+3MCQtmgPYzjI98nHaipUyrza11XLoPY3yUA=", headers="x-date @request-target x-missing")
    assert gateway().post("/fruits", headers={"X-Date": DATE, "Authorization": value}).status == 200


def test_the_signed_path_is_the_one_that_was_sent(gateway: Make) -> None:
    value = authorization(sign("GET /a/%7e/../b?x=%41 HTTP/1.1"), headers="request-line")
    headers = {"Date": DATE, "Authorization": value}
    assert gateway().get("/a/%7e/../b?x=%41", headers=headers).status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("Authorization", "Hmac"), ("Proxy-Authorization", "hmac"), ("Authorization", "  Hmac")],
)
def test_where_signatures_are_found(gateway: Make, name: str, value: str) -> None:
    made = gateway(hide_credentials=True)
    text = authorization(SIGNATURES["hmac-sha256"]).replace("hmac", value, 1)
    run = made.get(PATH, headers={"Date": DATE, "X-Tenant": "blue", name: text})
    assert run.status == 200
    assert name not in run.upstream.headers


def test_another_scheme_in_the_first_header_does_not_count(gateway: Make) -> None:
    run = ask(gateway(), authorization(SIGNATURES["hmac-sha256"]), Proxy_Authorization="Basic x")
    assert run.status == 200


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Basic x", NOT_VERIFIED),
        (authorization("x", username="bob"), NOT_VERIFIED),
        (authorization("x", algorithm="md5"), NOT_VERIFIED),
        (authorization("x", username=""), NOT_VERIFIED),
        ('hmac username="ada", headers="date", algorithm="hmac-sha256", signature="x"', NOT_VERIFIED),
        (authorization(SIGNATURES["hmac-sha1"]), NO_MATCH),
        (authorization("no base64!"), NO_MATCH),
        (authorization("é"), NO_MATCH),
        (authorization(SIGNATURES["hmac-sha256"], headers="date request-line"), NO_MATCH),
    ],
)
def test_what_is_refused(gateway: Make, value: str, message: str) -> None:
    refused(ask(gateway(realm="r"), value), message, 'hmac realm="r"')


def test_without_any_signature(gateway: Make) -> None:
    refused(gateway().get(headers={"Date": DATE}), "Unauthorized")


@pytest.mark.parametrize(
    ("dates", "skew", "is_timely"),
    [
        ({}, 300, False),
        ({"Date": "yesterday"}, 300, False),
        ({"Date": DATE}, 300, True),
        ({"Date": "Sat, 14 Mar 2026 15:04:26 GMT"}, 300, True),
        ({"Date": "Sat, 14 Mar 2026 15:04:25 GMT"}, 300, False),
        ({"Date": "Sat, 14 Mar 2026 15:14:26 GMT"}, 300, True),
        ({"Date": "Sat, 14 Mar 2026 15:14:27 GMT"}, 300, False),
        ({"Date": "Sat, 14 Mar 2026 15:14:27 GMT"}, 301, True),
        ({"X-Date": DATE, "Date": "soon"}, 300, True),
        ({"X-Date": "soon", "Date": DATE}, 300, True),
        ({"X-Date": "Sat, 14 Mar 2020 15:14:27 GMT"}, None, False),
    ],
)
def test_dates(gateway: Make, dates: dict[str, str], skew: int | None, is_timely: bool) -> None:
    value = authorization(sign("GET / HTTP/1.1"), headers="request-line")
    run = gateway(clock_skew=skew).get(headers={**dates, "Authorization": value})
    assert run.status == 200 if is_timely else refused(run, NO_DATE) is None


@pytest.mark.parametrize(
    ("date", "seconds"),
    [(DATE, NOW), ("Saturday, 14-Mar-26 15:09:26 GMT", NOW), ("Sat Mar 14 15:09:26 2026", NOW), ("x", None),
     ("Sat, 99 Mar 2026 15:09:26 GMT", None), ("", None)],
)  # fmt: skip
def test_forms_of_dates(date: str, seconds: float | None) -> None:
    assert seconds_of(date) == seconds


def test_headers_that_have_to_be_signed(gateway: Make) -> None:
    value = authorization(SIGNATURES["hmac-sha256"])
    assert ask(gateway(enforce_headers=["date", "request-line"]), value).status == 200
    refused(ask(gateway(enforce_headers=["date", "Request-Line"]), value), NOT_VERIFIED)


@pytest.mark.parametrize(
    ("body", "told", "status"),
    [
        (PEAR, PEARS_DIGEST, 200),
        ("", EMPTY_DIGEST, 200),
        ("", None, 200),
        (PEAR, None, 401),
        (PEAR, EMPTY_DIGEST, 401),
        (PEAR, PEARS_DIGEST.replace("SHA-256", "sha-256"), 401),
        ("x" * 100_000, PEARS_DIGEST, 401),
        ("x" * (MAX_BODY + 1), PEARS_DIGEST, 413),
    ],
    ids=["right", "empty", "nothing", "no digest", "another", "another spelling", "large", "too large"],
)
def test_bodies(gateway: Make, body: str, told: str | None, status: int) -> None:
    headers = {"Date": DATE, "Authorization": authorization(sign("POST / HTTP/1.1"), headers="request-line")}
    run = gateway(validate_request_body=True).post("/", body, headers={**headers, **({"Digest": told} if told else {})})
    assert run.status == status
    if status == 401:
        refused(run, NO_MATCH)
    if status == 200:
        assert run.upstream.text == body


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ('hmac username="a",algorithm="b",headers="c d",signature="e"', ("a", "b", ["c", "d"], "e")),
        ('x Hmacusername="a", algorithm="b",  headers="c", signature="e" y', ("a", "b", ["c"], "e")),
        ('hmac username="a", algorithm="q", algorithm="b", headers="c", signature="e"',
         ('a", algorithm="q', "b", ["c"], "e")),
        ('hmac username="a", algorithm="b", headers="c", signature="e', None),
        ('hmac username="a", algorithm="b", headers="", signature="e"', None),
        ('HMAC username="a", algorithm="b", headers="c", signature="e"', None),
        ("hmac " + 'username="' * 5000, None),
    ],
)  # fmt: skip
def test_grammar(value: str, parts: Any) -> None:
    found = parsed(value)
    assert (None if found is None else tuple(found)) == parts


def test_anonymous_consumers_and_changes(gateway: Make) -> None:
    made = gateway(anonymous="guest")
    made.consumer("guest")
    value = authorization(SIGNATURES["hmac-sha256"])
    assert ask(made, value).upstream.headers["X-Consumer-Username"] == "Ada"
    stored = made.store.dao("hmacauth_credentials").select_by("username", "ada")
    assert stored is not None
    made.update("hmacauth_credentials", stored["id"], secret="other")
    upstream = ask(made, value).upstream
    assert (upstream.headers["X-Consumer-Username"], upstream.headers["X-Anonymous-Consumer"]) == ("guest", "true")


def test_a_signature_that_was_right_is_no_pass_for_anything_else(gateway: Make) -> None:
    made = gateway(validate_request_body=True)
    value = authorization(SIGNATURES["hmac-sha256"])
    for _ in range(2):
        assert ask(made, value).upstream.headers["X-Consumer-Username"] == "Ada"
    refused(ask(made, value, X_Tenant="red"), NO_MATCH)
    refused(made.get(f"{PATH}&more=1", headers={"Date": DATE, "X-Tenant": "blue", "Authorization": value}), NO_MATCH)
    refused(ask(made, value, Digest=PEARS_DIGEST), NO_MATCH)
    refused(ask(made, value, Date="Sat, 14 Mar 2026 14:09:26 GMT"), NO_DATE)
    assert ask(made, value).status == 200


def test_long_signatures_are_verified_anew_each_time(gateway: Make) -> None:
    made = gateway()
    signed = authorization(sign(f"date: {DATE}\nx-tenant: {'b' * MAX_KEPT}"), headers="date x-tenant")
    for _ in range(2):
        assert ask(made, signed, X_Tenant="b" * MAX_KEPT).status == 200
    refused(ask(made, signed), NO_MATCH)


def test_nobody_has_endless_texts_put_together(gateway: Make) -> None:
    """Four thousand names of one long header in a list of 8 KiB would be 32 MiB, for anybody who asks."""
    made = gateway()
    for count, status in ((MAX_NAMES, 200), (MAX_NAMES + 1, 401)):
        names = " ".join(["date"] * count)
        run = ask(made, authorization(sign("\n".join([f"date: {DATE}"] * count)), headers=names))
        assert run.status == status
    refused(run, NOT_VERIFIED)


def test_a_datastore_that_is_away_lets_nobody_pass(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway(anonymous="guest")
    made.consumer("guest")

    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(made.store.strategy, "find", away)
    assert ask(made, authorization(SIGNATURES["hmac-sha256"])).status == 503


def test_secrets_are_made_when_none_is_given(gateway: Make) -> None:
    made = gateway()
    stored = made.insert("hmacauth_credentials", username="x", consumer={"username": "Ada"})
    assert len(stored["secret"]) == 32


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"clock_skew": 0}, {"clock_skew": "value must be greater than 0"}),
        ({"algorithms": ["md5"]},
         {"algorithms": ["expected one of: hmac-sha1, hmac-sha256, hmac-sha384, hmac-sha512"]}),
        ({"enforce_headers": "date"}, {"enforce_headers": "expected an array"}),
        ({"validate_request_body": None}, {"validate_request_body": "required field missing"}),
    ],
)  # fmt: skip
def test_bad_configurations(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("hmac-auth", **config)
    assert caught.value.fields == {"config": fields}
