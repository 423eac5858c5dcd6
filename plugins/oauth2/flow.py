"""The two endpoints of oauth2: what is asked of them, and how they answer."""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from kong_gevent.pdk import Conf, Context, Exit

Entity = Mapping[str, Any]
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_PLAIN = re.compile(rb"[A-Za-z0-9_]")


class Refused(Exception):
    """A request that an endpoint refuses: OAuth 2's error code and a text; `challenge`: answered 401 with it."""

    def __init__(self, code: str, text: str, challenge: str | None = None) -> None:
        self.code = code
        self.text = text
        self.challenge = challenge
        super().__init__(text)

    def body(self) -> dict[str, Any]:
        """What the answer says."""
        return {"error": self.code, "error_description": self.text}


@dataclass(slots=True)
class Asked:
    """A request to an endpoint: the arguments of query and body, those of the body win."""

    ctx: Context
    conf: Conf
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, ctx: Context, conf: Conf) -> Asked:
        """What a request asks."""
        body = ctx.request.body()
        return cls(ctx, conf, {**ctx.request.query_args(), **(body if isinstance(body, dict) else {})})

    def text(self, name: str) -> str | None:
        """An argument, if it is a text with something in it."""
        value = self.arguments.get(name)
        return value if isinstance(value, str) and value.strip() else None

    @property
    def service(self) -> dict[str, str] | None:
        """What codes and tokens of this configuration are bound to."""
        service = self.ctx.service_id
        return {"id": service} if service is not None and not self.conf.global_credentials else None

    def belongs_here(self, made: Entity) -> bool:
        """Whether a code or token was made for this service, or for all where those count."""
        bound = made["service"]
        if bound is None:
            return bool(self.conf.global_credentials)
        return bool(bound["id"] == self.ctx.service_id)

    def answer(self, status: int, body: dict[str, Any], challenge: str | None = None) -> Exit:
        """The end of the request."""
        headers = NO_STORE if challenge is None else {**NO_STORE, "WWW-Authenticate": challenge}
        return self.ctx.exit(status, body, headers)

    def with_state(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values with the client's `state`, which is handed back as it came."""
        state = self.arguments.get("state")
        return values if state is None else {**values, "state": state}


def check_https(ctx: Context, conf: Conf) -> None:
    """Raises Refused for a request that did not come over HTTPS."""
    text = "You must use HTTPS"
    if ctx.request.scheme == "https":
        return
    if conf.accept_http_if_already_terminated and ctx.client.trusted:
        told = ctx.request.forwarding_field("x-forwarded-proto") or ""
        if told.strip().lower() == "https":
            return
        if "," in told:
            text = "Only one X-Forwarded-Proto header allowed"
    raise Refused("access_denied", text)


def scope_of(asked: Asked) -> str | None:
    """The scopes that are asked for, checked against those of the configuration. Raises Refused."""
    conf = asked.conf
    given = asked.arguments.get("scope")
    if not conf.scopes:
        return None
    if given is None:
        if conf.mandatory_scope:
            raise Refused("invalid_scope", "You must specify a scope")
        return None
    if not isinstance(given, str):
        raise Refused("invalid_scope", "scope must be a string")
    words = given.split()
    for word in words:
        if word not in conf.scopes:
            raise Refused("invalid_scope", f'"{word}" is an invalid scope')
    if not words and conf.mandatory_scope:
        raise Refused("invalid_scope", "You must specify a scope")
    return " ".join(words) or None


def check_provision_key(asked: Asked) -> None:
    """Raises Refused for an application that does not know the provision key."""
    given = asked.arguments.get("provision_key")
    if not isinstance(given, str) or not compare_digest(given.encode(), asked.conf.provision_key.encode()):
        raise Refused("invalid_provision_key", "Invalid provision_key")


def user_of(asked: Asked) -> str:
    """The user. Raises Refused when there is none."""
    user = asked.text("authenticated_userid")
    if user is None:
        raise Refused("invalid_authenticated_userid", "Missing authenticated_userid parameter")
    return user


def needs_challenge(conf: Conf, client: Entity) -> bool:
    """Whether this client has to use PKCE (RFC 7636)."""
    if client["client_type"] == "public":
        return bool(conf.pkce != "none")
    return bool(conf.pkce == "strict")


def challenge_of(asked: Asked, client: Entity) -> tuple[str | None, str | None]:
    """The PKCE challenge, in one spelling, and its method. Raises Refused."""
    challenge, method = asked.text("code_challenge"), asked.arguments.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            raise Refused("invalid_request", "code_challenge is required when code_method is present")
        if needs_challenge(asked.conf, client):
            text = f"code_challenge is required for {client['client_type']} clients"
            raise Refused("invalid_request", text)
        return None, None
    if method is not None and method not in ("S256", "s256"):
        raise Refused("invalid_request", "code_challenge_method is not supported, must be S256")
    return _url_safe(challenge), "S256"


def check_verifier(asked: Asked, code: Entity, client: Entity) -> None:
    """Raises Refused unless the verifier belongs to the code's challenge."""
    if code["challenge_method"] is None and not needs_challenge(asked.conf, client):
        return
    verifier = asked.arguments.get("code_verifier")
    if verifier is None or verifier == "":
        raise Refused("invalid_request", "code_verifier is required for PKCE authorization requests")
    if not isinstance(verifier, str):
        raise Refused("invalid_request", "code_verifier is not a string")
    if not 43 <= len(verifier) <= 128:
        raise Refused("invalid_request", "code_verifier must be between 43 and 128 characters")
    made = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if not compare_digest(made.encode(), (code["challenge"] or "").encode()):
        raise Refused("invalid_grant", "Invalid code")


def _url_safe(challenge: str) -> str:
    return challenge.replace("+", "-").replace("/", "_").rstrip("=")


def client_credentials(asked: Asked) -> tuple[str | None, str | None, bool]:
    """Id and secret of the client, and whether they came in the header."""
    identifier, secret = asked.arguments.get("client_id"), asked.arguments.get("client_secret")
    if isinstance(identifier, str) and isinstance(secret, str):
        return identifier, secret, False
    header = asked.ctx.request.header(asked.conf.auth_header_name or "authorization") or ""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() == "basic" and encoded:
        try:
            parts = b64decode(encoded.strip(), validate=True).decode().split(":")
        except ValueError:
            parts = []
        if len(parts) >= 2:
            return parts[0], parts[1], True
    return identifier if isinstance(identifier, str) else None, None, False


def redirect_to(uri: str, values: Mapping[str, Any], fragment: bool = False) -> str:
    """A redirect URI with values in its query or fragment, merged with what is there, names sorted."""
    parts = urlsplit(uri)
    given = parts.fragment if fragment else parts.query
    merged: dict[str, str] = {}
    for pair in filter(None, given.split("&")):
        name, _, value = pair.partition("=")
        merged[unquote_plus(name)] = unquote_plus(value)
    merged |= {name: str(value) for name, value in values.items()}
    encoded = "&".join(f"{_percent(name)}={_percent(value)}" for name, value in sorted(merged.items()))
    if fragment:
        return urlunsplit((*parts[:4], encoded))
    return urlunsplit((*parts[:3], encoded, parts.fragment))


def _percent(text: str) -> str:
    """Everything but letters, digits and underscores as `%xx`, in lower case."""
    return "".join(chr(octet) if _PLAIN.match(bytes((octet,))) else f"%{octet:02x}" for octet in text.encode())
