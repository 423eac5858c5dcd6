"""Keys and their sets, vaults, and the paths of Wasm filters."""

import json

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.pem import private_key, public_key


def octets(number, size=32):
    import base64

    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def jwk(kid="k1", **changes):
    numbers = load_pem_private_key(private_key().encode(), None).private_numbers()
    public = numbers.public_numbers
    key = {"kty": "EC", "crv": "P-256", "kid": kid, "x": octets(public.x), "y": octets(public.y)}
    return json.dumps({**key, "d": octets(numbers.private_value), **changes})


def rsa_jwk(*members, kid="k1"):
    numbers = load_pem_private_key(private_key("rsa").encode(), None).private_numbers()
    known = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e, "d": numbers.d, "p": numbers.p,
             "q": numbers.q}  # fmt: skip
    return json.dumps({"kty": "RSA", "kid": kid, **{name: octets(known[name], 256) for name in members}})


OKP = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
"""The public key of RFC 8037, appendix A."""


@pytest.mark.parametrize(
    "key",
    [
        jwk(),
        rsa_jwk("n", "e"),
        rsa_jwk("n", "e", "d"),
        rsa_jwk("n", "e", "d", "p", "q"),
        json.dumps(OKP),
        json.dumps({**OKP, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}),
    ],
)
def test_json_web_keys(api, key):
    row = api.make("/keys", kid="k1", jwk=key)
    assert {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")} == {
        "set": None,
        "name": None,
        "kid": "k1",
        "jwk": key,
        "pem": None,
        "tags": None,
    }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("{", "could not json decode jwk string"),
        ("[]", "could not json decode jwk string"),
        (jwk(kid="other"), "kid in jwk.kid must be equal to keys.kid"),
        (jwk(kty="oct"), "could not load JWK, likely not a valid key"),
        (jwk(crv="P-1"), "could not load JWK, likely not a valid key"),
        (jwk(x="!"), "could not load JWK, likely not a valid key"),
        (jwk(x=5), "could not load JWK, likely not a valid key"),
        (jwk(y=octets(1)), "could not load JWK, likely not a valid key"),
        (rsa_jwk("n"), "could not load JWK, likely not a valid key"),
        (json.dumps({**OKP, "d": "AAAA"}), "could not load JWK, likely not a valid key"),
    ],
)
def test_wrong_json_web_keys(api, key, text):
    status, body = api.post("/keys", {"kid": "k1", "jwk": key})
    assert (status, body["message"]) == (400, f"schema violation ({text})")


def test_keys_in_pem(api):
    pem = {"private_key": private_key(), "public_key": public_key()}
    assert api.make("/keys", kid="a", pem=pem)["pem"] == pem
    assert api.make("/keys", kid="b", pem={"public_key": public_key()})["pem"]["private_key"] is None
    for wrong, text in (
        ({}, "at least one of these fields must be non-empty: 'private_key', 'public_key'"),
        ({"public_key": "x"}, "could not load public key"),
        ({"private_key": "x"}, "could not load private key"),
        ({**pem, "public_key": public_key(number=1)}, "public key does not match private key"),
    ):
        status, body = api.post("/keys", {"kid": "c", "pem": wrong})
        assert (status, body["fields"]) == (400, {"pem": {"@entity": [text]}})


def test_one_form_of_key(api):
    both = api.post("/keys", {"kid": "k1", "jwk": jwk(), "pem": {"public_key": public_key()}})[1]
    assert both["message"] == "schema violation (only one or none of these fields must be set: 'jwk', 'pem')"
    none = api.post("/keys", {"kid": "k1"})[1]
    assert none["message"] == "schema violation (at least one of these fields must be non-empty: 'jwk', 'pem')"
    assert api.post("/keys", {"jwk": jwk()})[1]["fields"] == {"kid": "required field missing"}


def test_key_sets(api):
    keys = api.make("/key-sets", name="set")
    assert set(keys) == {"id", "name", "tags", "created_at", "updated_at"}
    row = api.make("/key-sets/set/keys", kid="k1", name="key", jwk=jwk())
    assert row["set"] == {"id": keys["id"]}
    assert api.get("/keys/key") == api.get("/key-sets/set/keys/key") == (200, row)
    assert api.get("/keys/key/set") == (200, keys)
    assert api.make("/keys", kid="k1", jwk=jwk())["set"] is None
    status, body = api.post("/keys", {"kid": "k1", "jwk": jwk(), "set": {"name": "set"}})
    assert (status, body["code"], body["fields"]) == (409, 5, {"kid": "k1", "set": {"id": keys["id"]}})
    assert api.delete("/key-sets/set") == (204, None)
    assert [key["set"] for key in api.all("/keys")] == [None]


def test_vaults(api):
    row = api.make("/vaults", prefix="my-env", name="env", description="d", config={"prefix": "APP_"})
    assert {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")} == {
        "prefix": "my-env",
        "name": "env",
        "description": "d",
        "config": {"prefix": "APP_"},
        "tags": None,
    }
    assert api.get("/vaults/my-env") == (200, row)
    assert api.patch("/vaults/my-env", {"config": {"prefix": None}})[1]["config"] == {"prefix": None}
    assert api.put("/vaults/other", {"name": "env"})[1]["prefix"] == "other"
    assert api.post("/vaults", {"prefix": "other", "name": "env"})[0] == 409


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"prefix": "a-b", "name": "x"}, {"name": "vault 'x' is not installed"}),
        ({"prefix": "a-b"}, {"name": "required field missing"}),
        ({"prefix": "env", "name": "env"}, {"prefix": "must not be one of: env"}),
        ({"prefix": "A", "name": "env"}, {"prefix": "invalid value: A"}),
        ({"prefix": "a-", "name": "env"}, {"prefix": "invalid value: a-"}),
        ({"prefix": "a", "name": "env"}, {"prefix": "invalid value: a"}),
        ({"prefix": "ab", "name": "env", "config": {"prefix": "1"}}, {"config": {"prefix": "invalid value: 1"}}),
        ({"prefix": "ab", "name": "env", "config": {"ttl": 1}}, {"config": {"ttl": "unknown field"}}),
    ],
)
def test_wrong_vaults(api, body, fields):
    assert api.post("/vaults", body)[1]["fields"] == fields
    assert api.post("/schemas/vaults/validate", body)[1]["fields"] == fields


def test_documents_of_vaults(api):
    document = api.get("/schemas/vaults/env")[1]
    assert document["fields"][0]["config"]["fields"][0]["prefix"]["match"] == "^[%a_-][%w_-]*$"
    assert api.get("/schemas/vaults/x") == (404, {"message": "No vault named 'x'"})


NO_WASM = (400, {"message": "this endpoint is only available when wasm is enabled"})


@pytest.mark.parametrize(
    "path", ["/filter-chains", "/filter-chains/x", "/routes/x/filter-chains", "/routes/x/filters/all"]
)
def test_filters_are_off(api, path):
    assert api.get(path) == NO_WASM


def test_filter_chains_have_a_schema(api):
    names = [name for field in api.get("/schemas/filter_chains")[1]["fields"] for name in field]
    assert "filters" in names
    body = {"filters": [{"name": "x"}], "service": {"id": "11111111-1111-4111-8111-111111111111"}}
    assert api.post("/schemas/filter_chains/validate", body)[1]["fields"] == {"filters": [{"name": "no such filter"}]}
