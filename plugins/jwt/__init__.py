"""jwt: clients show a signed JSON web token (RFC 7519)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from time import time
from typing import Any, NamedTuple

from kong_gevent.pdk import Conf, Config, Context, Entity, Identity, Kit, checks, fields, load_public_key
from kong_gevent.pdk.auth import AuthenticationPlugin, Credential, Known, Refusal, anonymous_field, challenge, classic
from kong_gevent.plugins.jwt import tokens

_BEARER = re.compile(r"[Bb]earer\s+(.+)", re.DOTALL)


class JwtConfig(Config):
    """Settings of jwt."""

    uri_param_names = fields.Set(
        fields.String(), load_default=["jwt"], metadata={"description": "Query arguments that may hold a token."}
    )
    cookie_names = fields.Set(
        fields.String(), load_default=[], metadata={"description": "Cookies that may hold a token."}
    )
    key_claim_name = fields.String(
        load_default="iss",
        metadata={"description": "Claim (or else header parameter) that names the key of the credential."},
    )
    secret_is_base64 = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether secrets are base64 texts of the bytes that sign; for HS algorithms."},
    )
    claims_to_verify = fields.Set(
        fields.Choice("exp", "nbf"), metadata={"description": "Times in the token that are held against the clock."}
    )
    anonymous = anonymous_field("a valid token")
    run_on_preflight = fields.Boolean(
        required=True,
        load_default=True,
        metadata={"description": "Whether OPTIONS requests need a token; when false they pass untouched."},
    )
    maximum_expiration = fields.Number(
        between=[0, 31536000],
        load_default=0,
        metadata={"description": "Seconds from now that `exp` may lie ahead at most; 0: no limit."},
    )
    header_names = fields.Set(
        fields.String(),
        load_default=["authorization"],
        metadata={"description": "Headers that may hold `Bearer` and a token."},
    )
    realm = fields.String(required=False, metadata={"description": "The realm named in `WWW-Authenticate`, if any."})

    checks = (
        checks.Conditional("config.maximum_expiration", {"gt": 0}, "config.claims_to_verify", {"contains": "exp"}),
    )


def key_error(pem: str) -> str | None:
    """What is wrong with a public key."""
    try:
        load_public_key(pem)
    except ValueError:
        return "invalid key"
    return None


class JwtSecret(Credential):
    """Schema of a key with its secret, or public key."""

    key = fields.String(
        required=False,
        unique=True,
        auto=True,
        metadata={"description": "The key that tokens name; random if not given."},
    )
    secret = fields.String(auto=True, metadata={"description": "The secret for HS algorithms; random if not given."})
    rsa_public_key = fields.String(
        metadata={"description": "The public key (PEM) for all other algorithms, of whatever kind it is."}
    )
    algorithm = fields.Choice(
        *tokens.ALGORITHMS, load_default="HS256", metadata={"description": "The algorithm that tokens are signed with."}
    )

    checks = (
        checks.Conditional(
            "algorithm",
            {"match_any": {"patterns": [f"^{name}$" for name in tokens.ALGORITHMS if name[:2] in ("RS", "PS", "Ed")]}},
            "rsa_public_key",
            {"required": True, "custom_validator": key_error},
        ),
    )


SECRETS = Entity("jwt_secrets", JwtSecret(), collection="jwts", nested="jwt", endpoint_key="key", cache_key=("key",))


class Accepted(NamedTuple):
    """A token whose signature is right: who it is of, and its claims."""

    identity: Identity
    claims: Mapping[str, Any]


class Jwt(AuthenticationPlugin):
    """Recognises consumers by their tokens."""

    name = "jwt"
    priority = 1450
    config = JwtConfig
    may_skip_preflight = True
    entities = (SECRETS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)
        self.verifiers = Known(kit, 1000)

    def configure(self, conf: Conf) -> None:
        """Prepare the challenges, and how a token of this configuration is told from the same one of another."""
        conf.plain = challenge("Bearer", conf.realm)
        conf.invalid = {"WWW-Authenticate": f'{conf.plain["WWW-Authenticate"]} error="invalid_token"'}
        conf.nothing = Refusal(401, "Unauthorized", conf.plain, plain=True)
        conf.several = Refusal(401, "Multiple tokens provided", conf.invalid, plain=True)
        conf.claim = conf.key_claim_name or "iss"
        conf.variant = (conf.claim, conf.secret_is_base64)
        conf.arguments = [(name, name.encode()) for name in conf.uri_param_names or ()]
        conf.cookies = frozenset(conf.cookie_names or ())
        conf.headers = tuple(conf.header_names or ())
        conf.times = tuple(conf.claims_to_verify or ())

    def credential_names(self, conf: Conf) -> Iterable[str]:
        """Where tokens are looked for."""
        return (*(conf.uri_param_names or ()), *(conf.header_names or ()))

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find the one token, verify it, or know it already, and hold its times against the clock."""
        found = set(self._tokens(ctx, conf))
        if len(found) != 1:
            return conf.several if found else conf.nothing  # type: ignore[no-any-return]
        (text,) = found
        accepted = self.known.get((text, conf.variant))
        if accepted is None:
            version = self.known.version
            try:
                token, credential = self._verified(text, conf)
            except tokens.Invalid as refused:
                text = str(refused)
                old = classic(401, text, conf.plain) if isinstance(refused, tokens.Nameless) else classic(403, text)
                return Refusal(401, text, conf.invalid, plain=True, classic=old)
            refusal = self._untimely(token.claims, conf)
            if refusal is not None:
                return refusal
            consumer = self.kit.load_consumer(credential["consumer"]["id"])
            if consumer is None:
                return Refusal(401, f"Could not find consumer for '{conf.claim}={credential['key']}'", plain=True)
            accepted = Accepted(Identity(consumer, credential, credential["key"]), token.claims)
            self.known.keep((text, conf.variant), accepted, version, 4 * len(text))  # with its claims
        elif conf.times or conf.maximum_expiration:
            refusal = self._untimely(accepted.claims, conf)
            if refusal is not None:
                return refusal
        ctx.identify(accepted.identity)
        ctx.shared["authenticated_jwt_token"] = text
        return None

    @staticmethod
    def _tokens(ctx: Context, conf: Conf) -> Iterator[str]:
        """All tokens of the request, in the query, in cookies and in headers."""
        query = ctx.query
        if query:
            for name, encoded in conf.arguments:
                if encoded in query or b"%" in query or b"+" in query:
                    value = ctx.request.query_arg(name)
                    values = value if isinstance(value, list) else [value]
                    yield from (one for one in values if isinstance(one, str) and one)
        if conf.cookies:
            for line in ctx.request.header_values("Cookie"):
                for cookie in line.split(";"):
                    name, _, value = cookie.strip().partition("=")
                    if name in conf.cookies and value:
                        yield value.strip('"')
        for name in conf.headers:
            header = ctx.field(name)
            if header is not None:
                match = _BEARER.search(header if isinstance(header, str) else header[0])
                if match:
                    yield match.group(1)

    def _verified(self, text: str, conf: Conf) -> tuple[tokens.Token, Mapping[str, Any]]:
        """The token and the credential that has signed it. Raises `tokens.Invalid`."""
        token = tokens.decode(text)
        key = token.claims.get(conf.claim)
        if key is None:
            key = token.header.get(conf.claim)
        if key is None:
            raise tokens.Nameless(f"No mandatory '{conf.claim}' in claims")
        if not isinstance(key, str) or not key:
            raise tokens.Invalid(f"Invalid '{conf.claim}' in claims")
        credential = self.kit.select_by("jwt_secrets", "key", key)
        if credential is None:
            raise tokens.Invalid(f"No credentials found for given '{conf.claim}'")
        algorithm = credential["algorithm"] or "HS256"
        if token.header["alg"] != algorithm:
            raise tokens.Invalid("Invalid algorithm")
        verify = self._verifier(algorithm, credential, conf.secret_is_base64)
        if verify is None:
            raise tokens.Invalid("Invalid key/secret")
        if not verify(token.signed, token.signature):
            raise tokens.Invalid("Invalid signature")
        return token, credential

    def _verifier(self, algorithm: str, credential: Mapping[str, Any], is_base64: bool) -> tokens.Verifier | None:
        if algorithm in tokens.HMAC:
            text = credential["secret"] or ""
            secret = tokens.from_base64url(text) if is_base64 else text.encode()
            return tokens.hmac_verifier(algorithm, secret) if secret else None
        pem = credential["rsa_public_key"]
        if not pem:
            return None
        verifier: tokens.Verifier | None = self.verifiers.get((algorithm, pem))
        if verifier is None:
            version = self.verifiers.version
            verifier = tokens.public_key_verifier(algorithm, pem)
            if verifier is not None:
                self.verifiers.keep((algorithm, pem), verifier, version)
        return verifier

    @staticmethod
    def _untimely(claims: Mapping[str, Any], conf: Conf) -> Refusal | None:
        """The refusal of a token whose times are wrong, with a text for each."""
        now, wrong = time(), {}
        for name in conf.times:
            value = claims.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                wrong[name] = "must be a number"
            elif name == "exp" and value <= now:
                wrong[name] = "token expired"
            elif name == "nbf" and value > now:
                wrong[name] = "token not valid yet"
        if not wrong and conf.maximum_expiration:
            value = claims.get("exp")
            if value is None or value - now > conf.maximum_expiration:
                wrong["exp"] = "exceeds maximum allowed expiration"
        if not wrong:
            return None
        return Refusal(401, "", conf.invalid, plain=True, body=wrong, classic=classic(403, body=wrong))
