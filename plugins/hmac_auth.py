"""hmac-auth: clients sign what they send with a secret that they share with the gateway."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest, digest
from time import time
from typing import Any, NamedTuple

from kong_gevent.pdk import Conf, Config, Context, Entity, HeaderTemplate, Identity, Kit, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Credential, Known, Refusal, anonymous_field, challenge, classic

HEADERS = ("Proxy-Authorization", "Authorization")
HASHES = {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
CLOCK_SKEW = 300
MAX_BODY = 8 << 20
"""Bytes of a body whose digest is verified; the request of a longer one is answered with 413."""
LARGE = 64 << 10
"""Bytes of a body that is hashed in the thread pool."""
MAX_NAMES = 100
"""Names that a signature may list. Each adds a line to what is signed, which is put together for everybody."""
MAX_KEPT = 2048
"""Characters of a signature and what it is over, up to which a worker keeps in mind that it was right."""

NOT_VERIFIED = "HMAC signature cannot be verified"
NO_DATE = f"{NOT_VERIFIED}, a valid date or x-date header is required for HMAC Authentication"
NO_MATCH = "HMAC signature does not match"


class HmacAuthConfig(Config):
    """Settings of hmac-auth."""

    hide_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the signature is taken out of the request before the upstream gets it."},
    )
    clock_skew = fields.Number(
        gt=0,
        load_default=CLOCK_SKEW,
        metadata={"description": "Seconds by which the request's date may differ from the gateway's clock."},
    )
    anonymous = anonymous_field("a valid signature")
    validate_request_body = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the body is compared with the `Digest` header."},
    )
    enforce_headers = fields.Array(
        fields.String(), load_default=[], metadata={"description": "Headers that have to be signed."}
    )
    algorithms = fields.Array(
        fields.Choice(*HASHES), load_default=list(HASHES), metadata={"description": "Algorithms that are accepted."}
    )
    realm = fields.String(required=False, metadata={"description": "The realm named in `WWW-Authenticate`, if any."})


class HmacauthCredential(Credential):
    """Schema of a name with its secret."""

    username = fields.String(required=True, unique=True, metadata={"description": "The name."})
    secret = fields.String(auto=True, metadata={"description": "The secret; 32 random characters if none is given."})


CREDENTIALS = Entity(
    "hmacauth_credentials",
    HmacauthCredential(),
    collection="hmac-auths",
    nested="hmac-auth",
    endpoint_key="username",
    cache_key=("username",),
)


class Signature(NamedTuple):
    """What a header says: who signed which headers how."""

    username: str
    algorithm: str
    headers: list[str]
    signature: str


class Proven(NamedTuple):
    """A signature that was right: what its header says, what it is over, and who has signed."""

    signed: Signature
    text: bytes
    identity: Identity


class HmacAuth(AuthenticationPlugin):
    """Recognises consumers by their signatures."""

    name = "hmac-auth"
    priority = 1030
    config = HmacAuthConfig
    entities = (CREDENTIALS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)  # `Proven` by the value of the header, identities by ("identity", id of credential)
        self.seconds_of = lru_cache(1024)(seconds_of)  # many requests have the date of the present second

    def configure(self, conf: Conf) -> None:
        """Prepare the refusals and the lists."""
        headers = challenge("hmac", conf.realm)
        conf.nothing = Refusal(401, "Unauthorized", headers, classic=classic(401, "Unauthorized", headers))
        conf.no_date = Refusal(401, NO_DATE, headers, classic=classic(403, NO_DATE))
        conf.not_verified = Refusal(401, NOT_VERIFIED, headers, classic=classic(403, NOT_VERIFIED))
        conf.no_match = Refusal(401, NO_MATCH, headers, classic=classic(403, NO_MATCH))
        conf.hidden = {name: HeaderTemplate(cleared=(name,)) for name in HEADERS}
        conf.hashes = {name: HASHES[name] for name in (HASHES if conf.algorithms is None else conf.algorithms)}
        conf.skew = CLOCK_SKEW if conf.clock_skew is None else conf.clock_skew
        conf.enforced = frozenset(conf.enforce_headers or ())

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find the signature and compare it with our own."""
        values = [(name, value) for name in HEADERS if isinstance(value := ctx.field(name), str)]
        if not values:
            return conf.nothing  # type: ignore[no-any-return]
        if not self._is_timely(ctx, conf):
            return conf.no_date  # type: ignore[no-any-return]
        name, value, signed = self._signature(values)
        if signed is None:
            return conf.not_verified  # type: ignore[no-any-return]
        if conf.hide_credentials:
            ctx.set_upstream(conf.hidden[name])
        hash_name = conf.hashes.get(signed.algorithm)
        if hash_name is None or not conf.enforced.issubset(signed.headers):
            return conf.not_verified  # type: ignore[no-any-return]
        text = signing_text(ctx, signed.headers)
        proven = self.known.get(value)
        if proven is None or proven.text != text:
            version = self.known.version
            credential = self.kit.select_by("hmacauth_credentials", "username", signed.username)
            if credential is None:
                return conf.not_verified  # type: ignore[no-any-return]
            if not _same(digest(credential["secret"].encode(), text, hash_name), signed.signature):
                return conf.no_match  # type: ignore[no-any-return]
            proven = Proven(signed, text, self._identity_of(credential, version))
            if len(text) + len(value) <= MAX_KEPT:
                self.known.keep(value, proven, version)
        if conf.validate_request_body and not self._has_digest(ctx):
            return conf.no_match  # type: ignore[no-any-return]
        ctx.identify(proven.identity)
        return None

    def _signature(self, values: Sequence[tuple[str, str]]) -> tuple[str, str, Signature | None]:
        """The first header with a signature, its value, and what it says."""
        for name, value in values:
            proven = self.known.get(value)
            signed = parsed(value) if proven is None else proven.signed
            if signed is not None:
                return name, value, signed
        return "", "", None

    def _identity_of(self, credential: Mapping[str, Any], version: int) -> Identity:
        identity: Identity | None = self.known.get(("identity", credential["id"]))
        if identity is None:
            identity = self.identity(credential, credential["username"])
            self.known.keep(("identity", credential["id"]), identity, version)
        return identity

    def _is_timely(self, ctx: Context, conf: Conf) -> bool:
        now = time()
        for name in ("X-Date", "Date"):
            value = ctx.field(name)
            seconds = self.seconds_of(value) if isinstance(value, str) else None
            if seconds is not None and abs(now - seconds) <= conf.skew:
                return True
        return False

    def _has_digest(self, ctx: Context) -> bool:
        """Whether the body is the one that the header tells, or there is none of both."""
        body = ctx.request.raw_body(MAX_BODY)
        told = ctx.field("Digest")
        if not isinstance(told, str):
            return told is None and not body
        hashed = (self.kit.offload(sha256, body) if len(body) > LARGE else sha256(body)).digest()
        return compare_digest(b"SHA-256=" + b64encode(hashed), told.encode("latin-1"))


def seconds_of(date: str) -> float | None:
    """Epoch seconds of an HTTP date; None for what is none."""
    try:
        parsed_date = parsedate_to_datetime(date)
        return (parsed_date if parsed_date.tzinfo else parsed_date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


_START = re.compile(r'[Hh]mac\s*username="')
_SEPARATORS = tuple(re.compile(rf'",\s*{name}="') for name in ("signature", "headers", "algorithm"))


def parsed(value: str) -> Signature | None:
    """The signature in a header's value. A part goes up to the last place where the next one begins."""
    start, end = _START.search(value), value.rfind('"')
    if start is None:
        return None
    parts = []
    for separator in _SEPARATORS:
        places = list(separator.finditer(value, start.end(), end))
        if not places:
            return None
        parts.append(value[places[-1].end() : end])
        end = places[-1].start()
    signature, headers, algorithm = parts
    username = value[start.end() : end]
    names = headers.split()
    if not (signature and headers and algorithm and username) or len(names) > MAX_NAMES:
        return None
    try:
        username = username.encode("latin-1").decode()
    except ValueError:
        return None
    return Signature(username, algorithm, names, signature)


def signing_text(ctx: Context, names: Sequence[str]) -> bytes:
    """What the client has signed: a line for each name, of what was received before anybody changed it."""
    lines = []
    for name in names:
        value = ctx.field(name)
        if value is not None:
            lines.append(f"{name}: {value if isinstance(value, str) else ', '.join(value)}")
        elif name == "@request-target":
            lines.append(f"{name}: {ctx.request.method.lower()} {_target(ctx)}")
        elif name == "request-line":
            lines.append(f"{ctx.request.method} {_target(ctx)} HTTP/1.{ctx.minor}")
        else:
            lines.append(f"{name}:")
    return "\n".join(lines).encode("latin-1")


def _target(ctx: Context) -> str:
    path = ctx.request.raw_path
    return path if ctx.query is None else f"{path}?{ctx.request.raw_query}"


def _same(own: bytes, signature: str) -> bool:
    try:
        return compare_digest(own, b64decode(signature, validate=True))
    except ValueError:
        return False
