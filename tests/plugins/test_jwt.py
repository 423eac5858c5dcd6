"""jwt: where tokens are found, how they are verified, and with which words they are refused."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from hmac import digest
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk import Conf, Config, Context, Plugin
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins import jwt
from kong_gevent.plugins.jwt import tokens

Make = Callable[..., InMemoryGateway]
NOW = 1_800_000_000
KNOWN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhZGEta2V5IiwiZXhwIjo0MTAyNDQ0ODAwfQ."
    "fXPZN1uIBiiGM4HxjLgnvwdUWSRb657Ub5m8vllLmsE"
)
BINARY = f"{KNOWN.rpartition('.')[0]}.gRzThDexvVHYEOHzx9ItKy6Ipb_y8YHfvTrtV9FFTYY"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
CONDITION = "failed conditional validation given value of field 'algorithm'"


def b64(data: bytes | dict[str, Any] | str) -> str:
    raw = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def made_token(claims: Any = None, header: Any = None, secret: str = "lemon-secret", alg: str = "HS256") -> str:
    signed = (
        f"{b64({'alg': alg} if header is None else header)}.{b64({'iss': 'ada-key'} if claims is None else claims)}"
    )
    return f"{signed}.{b64(digest(secret.encode(), signed.encode(), tokens.HMAC.get(alg, 'sha256')))}"


@cache
def private_key(algorithm: str) -> Any:
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    public = key.public_key()
    text: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def signed_with(key: Any, algorithm: str) -> str:
    text = f"{b64({'alg': algorithm})}.{b64({'iss': 'ada-key'})}"
    if algorithm == "EdDSA":
        return f"{text}.{b64(key.sign(text.encode()))}"
    hash_ = HASHES[algorithm[2:]]
    if algorithm in CURVES:
        width = (key.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hash_)))
        return f"{text}.{b64(r.to_bytes(width, 'big') + s.to_bytes(width, 'big'))}"
    pad = padding.PKCS1v15() if algorithm[0] == "R" else padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    return f"{text}.{b64(key.sign(text.encode(), pad, hash_))}"


@pytest.fixture
def gateway(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(jwt, "time", lambda: NOW)

    def make(credential: dict[str, Any] | None = None, **config: Any) -> InMemoryGateway:
        made = plugin("jwt", **config)
        made.consumer("Ada")
        own = {"key": "ada-key", "secret": "lemon-secret", **(credential or {})}
        made.insert("jwt_secrets", consumer={"username": "Ada"}, **own)
        return made

    return make


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def refused(run: Run, body: Any, challenge: str | None = 'Bearer error="invalid_token"') -> None:
    assert run.upstreams == []
    assert (run.status, run.response.json()) == (401, body if isinstance(body, dict) else {"message": body})
    assert run.response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert (
        run.response.headers["WWW-Authenticate"] if "WWW-Authenticate" in run.response.headers else None
    ) == challenge


class Shown(Plugin):
    """Tells the verified token."""

    name = "shown"
    priority = 1
    config = type("ShownConfig", (Config,), {})

    def access(self, ctx: Context, conf: Conf) -> None:
        ctx.log["token"] = ctx.shared["authenticated_jwt_token"]


def test_the_upstream_learns_who_asks(plugin: Make) -> None:
    made = plugin(Shown).use("jwt", claims_to_verify=["exp", "nbf"][:1])
    made.consumer("Ada")
    made.insert("jwt_secrets", consumer={"username": "Ada"}, key="ada-key", secret="lemon-secret")
    for _ in range(2):  # the second time from memory
        run = made.get(headers=bearer(KNOWN))
        assert run.upstream.headers["X-Consumer-Username"] == "Ada"
        assert run.upstream.headers["X-Credential-Identifier"] == "ada-key"
        assert run.upstream.headers["Authorization"] == f"Bearer {KNOWN}"
        assert run.log["token"] == KNOWN


def test_secrets_in_base64(gateway: Make) -> None:
    made = gateway({"secret": "__4tYmluYXJ5LXNlY3JldAA"}, secret_is_base64=True)
    assert made.get(headers=bearer(BINARY)).status == 200
    refused(made.get(headers=bearer(KNOWN)), "Invalid signature")
    refused(gateway({"secret": "no base64!"}, secret_is_base64=True).get(headers=bearer(KNOWN)), "Invalid key/secret")


def test_a_token_of_one_configuration_is_not_one_of_another(gateway: Make) -> None:
    made = gateway()
    assert made.get(headers=bearer(KNOWN)).status == 200
    made.use("jwt", on="route", secret_is_base64=True)
    refused(made.get(headers=bearer(KNOWN)), "Invalid signature")


@pytest.mark.parametrize(
    ("config", "path", "headers"),
    [
        ({}, f"/?jwt={KNOWN}", {}),
        ({}, f"/?j%77t={KNOWN}", {}),
        ({}, "/", {"Authorization": f"bearer   {KNOWN}"}),
        ({}, "/", {"Authorization": f"x Bearer {KNOWN}"}),
        ({}, f"/?jwt={KNOWN}&jwt={KNOWN}", bearer(KNOWN)),
        ({}, f"/?jwt=&jwt&a={KNOWN}x", bearer(KNOWN)),
        ({"uri_param_names": ["a", "b"]}, f"/?b={KNOWN}", {}),
        ({"cookie_names": ["c"]}, "/", {"Cookie": f"a=1; c={KNOWN}; d"}),
        ({"header_names": ["X-Token", "X-Other"]}, "/", {"x_other": f"Bearer {KNOWN}"}),
    ],
)
def test_where_tokens_are_found(gateway: Make, config: dict[str, Any], path: str, headers: dict[str, str]) -> None:
    assert gateway(**config).get(path, headers=headers).status == 200


@pytest.mark.parametrize(
    ("config", "path", "headers"),
    [
        ({}, "/", {}),
        ({}, "/", {"Authorization": "Bearer"}),
        ({}, "/", {"Authorization": KNOWN}),
        ({}, "/", {"Cookie": f"jwt={KNOWN}"}),
        ({"uri_param_names": []}, f"/?jwt={KNOWN}", {}),
        ({"uri_param_names": None, "header_names": None, "cookie_names": None}, f"/?jwt={KNOWN}", bearer(KNOWN)),
    ],
)
@pytest.mark.parametrize("realm", [None, "r"])
def test_no_token(gateway: Make, config: dict[str, Any], path: str, headers: dict[str, str], realm: str | None) -> None:
    run = gateway(realm=realm, **config).get(path, headers=headers)
    refused(run, "Unauthorized", 'Bearer realm="r"' if realm else "Bearer")


BODY = b64({"iss": "ada-key"})


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("a.b", "Bad token; invalid JSON"),
        ("a.b.c.d", "Bad token; invalid JSON"),
        ("a.b.c", "Bad token; invalid JSON"),
        (f"{b64('[')}.{BODY}.x", "Bad token; invalid JSON"),
        (f"{b64(b'[' * 5000)}.{BODY}.x", "Bad token; invalid JSON"),
        (f"é.{BODY}.x", "Bad token; invalid JSON"),
        (made_token(header={"alg": "none"}), "Bad token; invalid alg"),
        (made_token(header={"alg": ["HS256"]}), "Bad token; invalid alg"),
        (made_token(header={"typ": "JWT"}), "Bad token; invalid alg"),
        (made_token(header="[]"), "Bad token; invalid alg"),
        (made_token(claims="[1]"), "Bad token; invalid claims"),
        (made_token().rpartition(".")[0] + ".", "Bad token; invalid signature"),
        (made_token().rpartition(".")[0] + ".!", "Bad token; invalid signature"),
        (made_token(claims={}), "No mandatory 'iss' in claims"),
        (made_token(claims={"iss": None}), "No mandatory 'iss' in claims"),
        (made_token(claims={"iss": ""}), "Invalid 'iss' in claims"),
        (made_token(claims={"iss": {"a": 1}}), "Invalid 'iss' in claims"),
        (made_token(claims={"iss": "bob"}), "No credentials found for given 'iss'"),
        (made_token(alg="HS512"), "Invalid algorithm"),
        (made_token(secret="other"), "Invalid signature"),
        (KNOWN[:-1] + "A", "Invalid signature"),
        (KNOWN[:-1] + "F", "Invalid signature"),
    ],
)  # fmt: skip
def test_what_is_refused(gateway: Make, token: str, message: str) -> None:
    made = gateway(realm="r")
    refused(made.get(headers=bearer(token)), message, 'Bearer realm="r" error="invalid_token"')


def test_several_tokens(gateway: Make) -> None:
    refused(gateway().get(f"/?jwt={KNOWN}", headers=bearer(made_token())), "Multiple tokens provided")


def test_the_key_may_be_in_another_claim_or_in_the_header(gateway: Make) -> None:
    made = gateway(key_claim_name="kid")
    assert made.get(headers=bearer(made_token(claims={"kid": "ada-key"}))).status == 200
    assert made.get(headers=bearer(made_token(header={"alg": "HS256", "kid": "ada-key"}))).status == 200
    refused(made.get(headers=bearer(KNOWN)), "No mandatory 'kid' in claims")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_longer_hashes(gateway: Make, algorithm: str) -> None:
    assert gateway({"algorithm": algorithm}).get(headers=bearer(made_token(alg=algorithm))).status == 200


@pytest.mark.parametrize("algorithm", [name for name in tokens.ALGORITHMS if name[0] != "H"] + ["Ed448"])
def test_public_keys(gateway: Make, algorithm: str) -> None:
    name = "EdDSA" if algorithm == "Ed448" else algorithm
    key = private_key("RSA" if algorithm[1] == "S" and algorithm[0] in "RP" else algorithm)
    made = gateway({"algorithm": name, "rsa_public_key": pem(key)})
    token = signed_with(key, name)
    assert made.get(headers=bearer(token)).status == 200
    text, _, signature = token.rpartition(".")
    for wrong in (("A" if signature[0] != "A" else "B") + signature[1:], signature[:8], b64(b"x" * 132)):
        refused(made.get(headers=bearer(f"{text}.{wrong}")), "Invalid signature")


def test_a_public_key_is_not_a_secret(gateway: Make) -> None:
    public = pem(private_key("RSA"))
    made = gateway({"algorithm": "RS256", "rsa_public_key": public})
    refused(made.get(headers=bearer(made_token(secret=public))), "Invalid algorithm")


@pytest.mark.parametrize("public", [None, "x", "another curve"])
def test_keys_that_cannot_verify(gateway: Make, public: str | None) -> None:
    text = pem(private_key("ES384")) if public == "another curve" else public
    made = gateway({"algorithm": "ES256", "rsa_public_key": text})
    refused(made.get(headers=bearer(signed_with(private_key("ES256"), "ES256"))), "Invalid key/secret")


@pytest.mark.parametrize(
    ("config", "claims", "wrong"),
    [
        ({}, {"exp": 1}, None),
        ({"claims_to_verify": ["exp"]}, {"exp": NOW + 1}, None),
        ({"claims_to_verify": ["exp"]}, {"exp": NOW}, {"exp": "token expired"}),
        ({"claims_to_verify": ["exp"]}, {"exp": str(NOW + 1)}, {"exp": "must be a number"}),
        ({"claims_to_verify": ["exp"]}, {"exp": True}, {"exp": "must be a number"}),
        ({"claims_to_verify": ["nbf"]}, {"nbf": NOW}, None),
        ({"claims_to_verify": ["nbf"]}, {"nbf": NOW + 0.5}, {"nbf": "token not valid yet"}),
        ({"claims_to_verify": ["exp", "nbf"]}, {"nbf": NOW + 1}, {"exp": "must be a number",
                                                                  "nbf": "token not valid yet"}),
        ({"claims_to_verify": ["exp"], "maximum_expiration": 60}, {"exp": NOW + 60}, None),
        ({"claims_to_verify": ["exp"], "maximum_expiration": 60}, {"exp": NOW + 61},
         {"exp": "exceeds maximum allowed expiration"}),
        ({"claims_to_verify": ["exp"], "maximum_expiration": 60}, {"exp": NOW}, {"exp": "token expired"}),
    ],
)  # fmt: skip
def test_times(gateway: Make, config: dict[str, Any], claims: dict[str, Any], wrong: dict[str, str] | None) -> None:
    made = gateway(**config)
    token = made_token(claims={"iss": "ada-key", **claims})
    for _ in range(2):
        run = made.get(headers=bearer(token))
        assert run.status == 200 if wrong is None else refused(run, wrong) is None


def test_a_token_that_is_known_expires_all_the_same(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made, token = gateway(claims_to_verify=["exp"]), made_token(claims={"iss": "ada-key", "exp": NOW + 10})
    assert made.get(headers=bearer(token)).status == 200
    monkeypatch.setattr(jwt, "time", lambda: NOW + 10)
    refused(made.get(headers=bearer(token)), {"exp": "token expired"})


def test_changes_of_credentials_count_at_once(gateway: Make) -> None:
    made = gateway()
    assert made.get(headers=bearer(KNOWN)).status == 200
    stored = made.store.dao("jwt_secrets").select_by("key", "ada-key")
    assert stored is not None
    made.update("jwt_secrets", stored["id"], secret="other")
    refused(made.get(headers=bearer(KNOWN)), "Invalid signature")
    made.update("jwt_secrets", stored["id"], secret="lemon-secret")
    assert made.get(headers=bearer(KNOWN)).status == 200
    made.delete("consumers", stored["consumer"]["id"])
    refused(made.get(headers=bearer(KNOWN)), "No credentials found for given 'iss'")


def test_a_consumer_that_is_gone(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway()
    monkeypatch.setattr(made.kit, "load_consumer", lambda key, by_username=False: None)
    refused(made.get(headers=bearer(KNOWN)), "Could not find consumer for 'iss=ada-key'", None)


def test_preflight_requests(gateway: Make) -> None:
    assert gateway(run_on_preflight=False).request("OPTIONS").status == 200
    refused(gateway().request("OPTIONS"), "Unauthorized", "Bearer")


def test_anonymous_consumers(gateway: Make) -> None:
    made = gateway(anonymous="guest")
    made.consumer("guest")
    upstream = made.get(headers=bearer("a.b")).upstream
    assert (upstream.headers["X-Consumer-Username"], upstream.headers["X-Anonymous-Consumer"]) == ("guest", "true")


def test_a_datastore_that_is_away_lets_nobody_pass(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway(anonymous="guest")
    made.consumer("guest")

    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(made.store.strategy, "find", away)
    assert made.get(headers=bearer(KNOWN)).status == 503


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "EdDSA"])
@pytest.mark.parametrize(("key", "text"), [(None, "required field missing"), ("x", "invalid key")])
def test_bad_credentials(gateway: Make, algorithm: str, key: str | None, text: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        gateway({"algorithm": algorithm, "rsa_public_key": key})
    assert caught.value.fields == {"rsa_public_key": text, "@entity": [CONDITION]}


def test_credentials_have_defaults(gateway: Make) -> None:
    made = gateway()
    stored = made.insert("jwt_secrets", consumer={"username": "Ada"})
    assert (len(stored["key"]), len(stored["secret"]), stored["algorithm"]) == (32, 32, "HS256")


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"claims_to_verify": ["iat"]}, {"claims_to_verify": ["expected one of: exp, nbf"]}),
        ({"maximum_expiration": -1}, {"maximum_expiration": "value should be between 0 and 31536000"}),
        ({"maximum_expiration": 5, "claims_to_verify": ["nbf"]}, {"claims_to_verify": "expected to contain: exp"}),
        ({"secret_is_base64": 1}, {"secret_is_base64": "expected a boolean"}),
    ],
)
def test_bad_configurations(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("jwt", **config)
    assert caught.value.fields["config"] == fields
