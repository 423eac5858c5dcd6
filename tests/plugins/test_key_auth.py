"""key-auth: where keys are found, who is recognised, what is refused and what the upstream learns."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway, Run

Make = Callable[..., InMemoryGateway]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
BAD_NAME = "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=frontier"}
PART = '--frontier\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


def parts(*fields: tuple[str, str, str]) -> str:
    return "".join(PART.format(*field) for field in fields) + "--frontier--\r\n"


@pytest.fixture
def gateway(plugin: Make) -> Callable[..., InMemoryGateway]:
    def make(**config: Any) -> InMemoryGateway:
        made = plugin("key-auth", **config)
        made.consumer("ada", "k1", custom_id="c-7")
        return made

    return make


def refused(run: Run, message: str, challenge: str = "Key") -> None:
    assert run.upstreams == []
    assert (run.status, run.response.json()["message"]) == (401, message)
    assert run.response.json()["request_id"] == run.response.headers["X-Kong-Request-Id"]
    assert run.response.headers["WWW-Authenticate"] == challenge


def test_the_upstream_learns_who_asks(gateway: Make) -> None:
    made = gateway()
    upstream = made.get("/", headers={"apikey": "k1"}).upstream
    ada = made.store.dao("consumers").select_by("username", "ada")
    credential = made.store.dao("keyauth_credentials").select_by("key", "k1")
    assert ada is not None and credential is not None
    assert upstream.headers["X-Consumer-ID"] == ada["id"]
    assert upstream.headers["X-Consumer-Username"] == "ada"
    assert upstream.headers["X-Consumer-Custom-ID"] == "c-7"
    assert upstream.headers["X-Credential-Identifier"] == credential["id"]
    assert "X-Anonymous-Consumer" not in upstream.headers


@pytest.mark.parametrize(
    "name",
    ["X-Consumer-ID", "X-Consumer-Username", "X-Consumer-Custom-ID", "X-Credential-Identifier", "X-Anonymous-Consumer"],
)
@pytest.mark.parametrize("spelling", ["{}", "{}_"], ids=["dashes", "underscores"])
def test_clients_cannot_claim_an_identity(plugin: Make, name: str, spelling: str) -> None:
    made = plugin("key-auth")
    made.consumer("bob", "k2")
    claimed = name if spelling == "{}" else name.replace("-", "_")
    upstream = made.get("/", headers={claimed: "forged", "apikey": "k2"}).upstream
    assert "forged" not in [value for _, value in upstream.headers.fields]


def test_names_with_control_characters_are_told_in_a_way_that_fields_can_hold(plugin: Make) -> None:
    made = plugin("key-auth")
    made.consumer("a\r\nX-Admin: 1\0", "k")
    assert made.get(headers={"apikey": "k"}).upstream.headers["X-Consumer-Username"] == "a%0D%0AX-Admin: 1%00"


def test_values_of_an_identity_may_hold_percent_signs(plugin: Make) -> None:
    made = plugin("key-auth")
    made.consumer("50%d", "k2")
    assert made.get("/", headers={"apikey": "k2"}).upstream.headers["X-Consumer-Username"] == "50%d"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"apikey": "k1"}),
        ("/", {"APIKEY": "k1"}),
        ("/?apikey=k1", {}),
        ("/?a=1&apikey=k%31", {}),
    ],
    ids=["header", "header in capitals", "query", "query with escapes"],
)
def test_keys_are_found(gateway: Make, path: str, headers: dict[str, str]) -> None:
    assert gateway().get(path, headers=headers).status == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, "a=1&apikey=k1"),
        (JSON, '{"apikey": "k1"}'),
        (MULTIPART, parts(("apikey", "", "k1"))),
    ],
    ids=["form", "json", "multipart"],
)
class TestBodies:
    def test_keys_are_found_when_bodies_are_looked_into(
        self, gateway: Make, headers: dict[str, str], body: str
    ) -> None:
        run = gateway(key_in_body=True).post("/", body, headers=headers)
        assert run.status == 200
        assert run.upstream.text == body

    def test_keys_are_not_found_otherwise(self, gateway: Make, headers: dict[str, str], body: str) -> None:
        refused(gateway().post("/", body, headers=headers), "No API key found in request")


@pytest.mark.parametrize(
    ("config", "headers"),
    [({"key_in_header": False}, {"apikey": "k1"}), ({"key_names": ["x-key"]}, {"apikey": "k1"})],
    ids=["headers off", "another name"],
)
def test_keys_elsewhere_do_not_count(gateway: Make, config: dict[str, Any], headers: dict[str, str]) -> None:
    refused(gateway(**config).get("/", headers=headers), "No API key found in request")


def test_keys_in_the_query_do_not_count_when_that_is_off(gateway: Make) -> None:
    refused(gateway(key_in_query=False).get("/?apikey=k1"), "No API key found in request")


def test_names_with_underscores_are_found_under_either_spelling(gateway: Make) -> None:
    made = gateway(key_names=["x_key"])
    assert made.get("/", headers={"x-key": "k1"}).status == 200
    assert made.get("/", headers={"x_key": "k1"}).status == 200


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        ("/", [], "No API key found in request"),
        ("/", [("apikey", "")], "No API key found in request"),
        ("/?apikey=k1", [("apikey", "")], "No API key found in request"),
        ("/?apikey", [], "No API key found in request"),
        ("/?apikey=", [], "No API key found in request"),
        ("/", [("apikey", "wrong")], "Unauthorized"),
        ("/?apikey=k1", [("apikey", "wrong")], "Unauthorized"),
        ("/", [("apikey", "k1"), ("apikey", "k1")], "Duplicate API key found"),
        ("/?apikey=k1&apikey=k2", [], "Duplicate API key found"),
    ],
    ids=[
        "nothing",
        "empty header",
        "empty header before a good query",
        "query without value",
        "empty query",
        "unknown",
        "unknown header before a good query",
        "two headers",
        "twice in the query",
    ],
)
def test_requests_without_one_valid_key_are_refused(
    gateway: Make, path: str, headers: list[tuple[str, str]], message: str
) -> None:
    refused(gateway().get(path, headers=headers), message)


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (JSON, '{"apikey": ["k1"]}', "Duplicate API key found"),
        (FORM, "apikey=k1&apikey=k1", "Duplicate API key found"),
        (FORM, "apikey[]=k1", "No API key found in request"),
        (JSON, '{"apikey": 7}', "No API key found in request"),
        (JSON, "{", "No API key found in request"),
        (JSON, '["apikey"]', "No API key found in request"),
        ({"Content-Type": "text/plain"}, "apikey=k1", "No API key found in request"),
        ({}, "apikey=k1", "No API key found in request"),
    ],
    ids=["json list", "form twice", "brackets", "number", "broken json", "json array", "text", "no type"],
)
def test_bodies_without_one_key_are_refused(gateway: Make, headers: dict[str, str], body: str, message: str) -> None:
    refused(gateway(key_in_body=True).post("/", body, headers=headers), message)


def test_the_first_name_with_a_key_counts(gateway: Make) -> None:
    made = gateway(key_names=["first", "second"])
    assert made.get("/", headers={"second": "k1"}).status == 200
    refused(made.get("/", headers={"first": "wrong", "second": "k1"}), "Unauthorized")


def test_a_realm_is_named_in_the_challenge(gateway: Make) -> None:
    refused(gateway(realm='my "api"').get("/"), "No API key found in request", 'Key realm="my \\"api\\""')


class TestHiding:
    def test_the_header_goes_in_every_spelling(self, gateway: Make) -> None:
        made = gateway(hide_credentials=True, key_names=["x-key"])
        upstream = made.get("/", headers={"X_Key": "k1", "A": "b"}).upstream
        assert "X_Key" not in upstream.headers
        assert upstream.headers["A"] == "b"

    def test_the_query_argument_goes_and_the_others_stay(self, gateway: Make) -> None:
        upstream = gateway(hide_credentials=True).get("/p?b=2&apikey=k1&a=%20x&b=3").upstream
        assert upstream.target == "/p?b=2&a=%20x&b=3"

    def test_the_only_query_argument_leaves_no_question_mark(self, gateway: Make) -> None:
        assert gateway(hide_credentials=True).get("/p?apikey=k1").upstream.target == "/p"

    def test_keys_stay_without_it(self, gateway: Make) -> None:
        assert gateway().get("/p?apikey=k1").upstream.target == "/p?apikey=k1"

    @pytest.mark.parametrize(
        ("headers", "body", "left"),
        [
            (FORM, "b=2&apikey=k1&a=1", "b=2&a=1"),
            (JSON, '{"b": 2, "apikey": "k1"}', '{"b":2}'),
            (
                MULTIPART,
                parts(("f", '; filename="a.txt"\r\nContent-Type: text/x', "1"), ("apikey", "", "k1"), ("z", "", "2")),
                parts(("f", '; filename="a.txt"\r\nContent-Type: text/x', "1"), ("z", "", "2")),
            ),
        ],
        ids=["form", "json", "multipart"],
    )
    def test_the_body_loses_the_key_and_nothing_else(
        self, gateway: Make, headers: dict[str, str], body: str, left: str
    ) -> None:
        upstream = gateway(hide_credentials=True, key_in_body=True).post("/", body, headers=headers).upstream
        assert upstream.text == left
        assert upstream.headers["Content-Length"] == str(len(left))
        assert upstream.headers["Content-Type"] == headers["Content-Type"]

    def test_a_key_is_hidden_however_the_lines_of_a_form_end(self, gateway: Make) -> None:
        body = parts(("apikey", "", "k1"), ("z", "", "2")).replace("\r\n", "\n")
        upstream = gateway(hide_credentials=True, key_in_body=True).post("/", body, headers=MULTIPART).upstream
        assert "k1" not in upstream.text
        assert 'name="z"' in upstream.text

    @pytest.mark.parametrize("chunked", [False, True])
    def test_an_upload_with_its_key_in_a_header_streams_on(self, gateway: Make, chunked: bool) -> None:
        made = gateway(hide_credentials=True, key_in_body=True)
        body = parts(("f", '; filename="a"', "x" * (2 << 20)))
        upstream = made.request("POST", "/", headers={**MULTIPART, "apikey": "k1"}, body=body, chunked=chunked).upstream
        assert upstream.text == body
        assert "apikey" not in upstream.headers
        refused(made.request("POST", "/", headers=MULTIPART, body=body, chunked=chunked), "No API key found in request")

    def test_a_wrong_key_is_hidden_from_an_anonymous_request_too(self, gateway: Make) -> None:
        made = gateway(hide_credentials=True, anonymous="guest")
        made.consumer("guest")
        assert made.get("/?apikey=wrong").upstream.target == "/"


class TestAnonymous:
    @pytest.mark.parametrize("by", ["id", "username"])
    def test_requests_without_key_go_on_as_that_consumer(self, plugin: Make, by: str) -> None:
        made = plugin()
        guest = made.consumer("guest", custom_id="c-0")
        made.use("key-auth", anonymous=guest[by])
        upstream = made.get("/").upstream
        assert upstream.headers["X-Consumer-ID"] == guest["id"]
        assert upstream.headers["X-Consumer-Username"] == "guest"
        assert upstream.headers["X-Anonymous-Consumer"] == "true"
        assert "X-Credential-Identifier" not in upstream.headers

    def test_valid_keys_are_still_recognised(self, gateway: Make) -> None:
        made = gateway(anonymous="guest")
        made.consumer("guest")
        upstream = made.get("/", headers={"apikey": "k1"}).upstream
        assert upstream.headers["X-Consumer-Username"] == "ada"
        assert "X-Anonymous-Consumer" not in upstream.headers

    @pytest.mark.parametrize("anonymous", ["nobody", "00000000-0000-4000-8000-00000000dead", "c-7"])
    def test_an_unknown_one_is_an_error_and_never_a_pass(self, gateway: Make, anonymous: str) -> None:
        run = gateway(anonymous=anonymous).get("/")
        assert (run.status, run.response.json()["message"]) == (500, "An unexpected error occurred")
        assert run.upstreams == []

    def test_its_plugins_apply(self, plugin: Make) -> None:
        made = plugin()
        guest = made.consumer("guest")
        made.use("key-auth", anonymous="guest")
        made.use("request-termination", on={"consumer": guest}, status_code=401, message="no guests")
        made.consumer("ada", "k1")
        assert made.get("/").response.json() == {"message": "no guests"}
        assert made.get("/", headers={"apikey": "k1"}).status == 200


class TestPreflight:
    def test_options_needs_a_key(self, gateway: Make) -> None:
        refused(gateway().request("OPTIONS", "/"), "No API key found in request")

    def test_options_passes_untouched_where_that_is_wanted(self, gateway: Make) -> None:
        made = gateway(run_on_preflight=False)
        run = made.request("OPTIONS", "/?apikey=wrong")
        assert run.status == 200
        assert "X-Consumer-ID" not in run.upstream.headers
        refused(made.get("/"), "No API key found in request")


class TestTruth:
    def test_a_new_key_is_known_at_once_although_it_was_refused_before(self, gateway: Make) -> None:
        made = gateway()
        assert made.get("/", headers={"apikey": "k9"}).status == 401
        made.consumer("new", "k9")
        assert made.get("/", headers={"apikey": "k9"}).status == 200

    def test_a_deleted_key_is_refused_at_once(self, gateway: Make) -> None:
        made = gateway()
        assert made.get("/", headers={"apikey": "k1"}).status == 200
        credential = made.store.dao("keyauth_credentials").select_by("key", "k1")
        made.delete("keyauth_credentials", credential["id"])  # type: ignore[index]
        assert made.get("/", headers={"apikey": "k1"}).status == 401

    def test_the_keys_of_a_deleted_consumer_are_refused_at_once(self, gateway: Make) -> None:
        made = gateway()
        assert made.get("/", headers={"apikey": "k1"}).status == 200
        made.delete("consumers", made.store.dao("consumers").select_by("username", "ada")["id"])  # type: ignore[index]
        assert made.get("/", headers={"apikey": "k1"}).status == 401

    def test_a_renamed_consumer_is_announced_by_its_new_name(self, gateway: Make) -> None:
        made = gateway()
        assert made.get("/", headers={"apikey": "k1"}).upstream.headers["X-Consumer-Username"] == "ada"
        ada = made.store.dao("consumers").select_by("username", "ada")
        made.update("consumers", ada["id"], username="lovelace")  # type: ignore[index]
        assert made.get("/", headers={"apikey": "k1"}).upstream.headers["X-Consumer-Username"] == "lovelace"

    def test_an_expired_key_is_refused_although_it_was_just_used(
        self, gateway: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import time

        from kong_gevent.runtime import caches, kit

        made = gateway()
        bob = made.consumer("bob")
        made.insert("keyauth_credentials", consumer={"id": bob["id"]}, key="brief", ttl=100)
        assert made.get("/", headers={"apikey": "brief"}).status == 200
        real, monotonic = time.time, time.monotonic
        monkeypatch.setattr(made.store.strategy, "_clock", lambda: real() + 100.5)
        for module in (caches, kit):
            monkeypatch.setattr(module, "monotonic", lambda: monotonic() + 100.5)
        assert made.get("/", headers={"apikey": "brief"}).status == 401

    def test_a_datastore_that_does_not_answer_lets_nobody_pass(
        self, gateway: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = gateway(anonymous="guest")
        made.consumer("guest")
        assert made.get("/", headers={"apikey": "k1"}).status == 200

        def fail(*_: Any) -> None:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(type(made.store.dao("keyauth_credentials")), "select_by", fail)
        assert made.get("/", headers={"apikey": "unseen"}).status == 503
        assert made.get("/", headers={"apikey": "k1"}).status == 200


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"key_names": ["a b"]}, "key_names", [BAD_NAME]),
        ({"key_names": None}, "key_names", "required field missing"),
        ({"key_names": "apikey"}, "key_names", "expected an array"),
        ({"hide_credentials": "yes"}, "hide_credentials", "expected a boolean"),
        ({"anonymous": ""}, "anonymous", "length must be at least 1"),
        ({"colour": "red"}, "colour", "unknown field"),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], field: str, message: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("key-auth", **config)
    assert caught.value.fields == {"config": {field: message}}


def test_it_cannot_be_bound_to_a_consumer(plugin: Make) -> None:
    made = plugin()
    with pytest.raises(SchemaViolation) as caught:
        made.use("key-auth", on={"consumer": made.consumer("ada")})
    assert caught.value.fields == {"consumer": "value must be null"}
