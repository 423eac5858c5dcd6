"""Giving out codes and tokens: the grants of RFC 6749 with Kong's parameters for the application behind them."""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from gevent.lock import BoundedSemaphore

from kong_gevent.pdk import DaoError, Exit, Kit
from kong_gevent.pdk import Entity as Kind
from kong_gevent.plugins.oauth2.entities import CLIENTS, CODE_SECONDS, CODES, TOKENS
from kong_gevent.plugins.oauth2.flow import (
    Asked,
    Entity,
    Refused,
    challenge_of,
    check_https,
    check_provision_key,
    check_verifier,
    client_credentials,
    redirect_to,
    scope_of,
    user_of,
)
from kong_gevent.plugins.oauth2.hashing import DECOY, is_hash, matches, outdated

BAD_CLIENT = ("invalid_client", "Invalid client authentication")
BAD_REDIRECT = (
    "invalid_request",
    "Invalid redirect_uri that does not match with any redirect_uri created with the application",
)
BASIC = 'Basic realm="OAuth2.0"'
HASHED_AT_ONCE = 2
"""Secrets that a worker compares with a hash at once: everybody may ask for that, and other work needs threads, too."""
_ALPHABET = string.ascii_letters + string.digits


def new_token() -> str:
    """32 random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))


class Grants:
    """The endpoints `…/oauth2/authorize` and `…/oauth2/token`. `now`: a clock, in s since 1970."""

    def __init__(self, kit: Kit, now: Callable[[], float]) -> None:
        self._kit = kit
        self._now = now
        self._threads = BoundedSemaphore(HASHED_AT_ONCE)
        self._grants: dict[str, tuple[str | None, Callable[[Asked, Entity | None], dict[str, Any]]]] = {
            "authorization_code": ("enable_authorization_code", self._by_code),
            "client_credentials": ("enable_client_credentials", self._by_client),
            "password": ("enable_password_grant", self._by_password),
            "refresh_token": (None, self._by_refresh_token),
        }

    # --- authorize -------------------------------------------------------------------------------------------------

    def authorize(self, asked: Asked) -> Exit:
        """The application says that its user allows a client to act for them (RFC 6749, section 4.1.1)."""
        try:
            check_https(asked.ctx, asked.conf)
            check_provision_key(asked)
            user = user_of(asked)
        except Refused as refused:
            return asked.answer(400, asked.with_state(refused.body()))
        conf = asked.conf
        kind = asked.arguments.get("response_type")
        client = self._client(asked.text("client_id"))
        redirect: str | None = None
        error: Refused | None = None
        scope = challenge = method = None
        enabled = {"code": conf.enable_authorization_code, "token": conf.enable_implicit_grant}
        if not isinstance(kind, str) or not enabled.get(kind):
            error = Refused("unsupported_response_type", "Invalid response_type")
        try:
            scope = scope_of(asked)
        except Refused as refused:
            error = refused
        if client is None or not client["redirect_uris"]:
            error = Refused(*BAD_CLIENT)
        else:
            redirect = self._redirect(asked, client)
            if redirect is None:
                redirect, error = client["redirect_uris"][0], Refused(*BAD_REDIRECT)
            try:
                challenge, method = challenge_of(asked, client) if kind == "code" else (None, None)
            except Refused as refused:
                error = refused
        try:
            if error is not None or client is None or redirect is None:
                raise error or Refused(*BAD_CLIENT)
            if kind == "token":
                token = self._token(asked, client, user, scope, refreshable=False)
                return asked.answer(200, {"redirect_uri": redirect_to(redirect, token, fragment=True)})
            code = self._code(asked, client, user, scope, (challenge, method))
            return asked.answer(200, {"redirect_uri": redirect_to(redirect, asked.with_state({"code": code}))})
        except Refused as refused:
            body = asked.with_state(refused.body())
            return asked.answer(400, {"redirect_uri": redirect_to(redirect, body)} if redirect else body)

    @staticmethod
    def _redirect(asked: Asked, client: Entity) -> str | None:
        """The redirect URI that is asked for, or the first one; None for one that was not registered."""
        wanted = asked.arguments.get("redirect_uri")
        if wanted is None:
            first: str = client["redirect_uris"][0]
            return first
        return wanted if wanted in client["redirect_uris"] else None

    # --- token -----------------------------------------------------------------------------------------------------

    def token(self, asked: Asked) -> Exit:
        """A client asks for a token (RFC 6749, section 3.2)."""
        try:
            check_https(asked.ctx, asked.conf)
            return asked.answer(200, self._grant(asked))
        except Refused as refused:
            status = 400 if refused.challenge is None else 401
            return asked.answer(status, asked.with_state(refused.body()), refused.challenge)

    def _grant(self, asked: Asked) -> dict[str, Any]:
        """The token, or Refused."""
        name = asked.arguments.get("grant_type")
        setting, give = self._grants.get(name, (None, None)) if isinstance(name, str) else (None, None)
        if setting is not None and not getattr(asked.conf, setting):
            give = None
        client = self._authenticated(asked, named_only=name == "client_credentials")
        if give is None:
            raise Refused("unsupported_grant_type", "Invalid grant_type")
        return give(asked, client)

    def _authenticated(self, asked: Asked, named_only: bool) -> Entity | None:
        """The client, with its secret checked. `named_only`: one without redirect URIs will do. Raises Refused."""
        identifier, secret, from_header = client_credentials(asked)
        refused = Refused(*BAD_CLIENT, BASIC if from_header else None)
        client = self._client(identifier)
        if client is None or not (named_only or client["redirect_uris"]):
            self._knows_secret(None, secret)
            raise refused
        if not named_only and asked.arguments.get("redirect_uri") is not None and self._redirect(asked, client) is None:
            raise Refused(*BAD_REDIRECT)
        if client["client_type"] == "public":
            if secret is not None and secret.strip():
                raise Refused("invalid_request", "client_secret is disallowed for public clients")
        elif not self._knows_secret(client, secret):
            raise refused
        return client

    def _client(self, identifier: str | None) -> Entity | None:
        if not identifier:
            return None
        return self._kit.entities(CLIENTS.name).select_by("client_id", identifier, cached=True)

    def _knows_secret(self, client: Entity | None, secret: str | None) -> bool:
        """Whether this is the client's secret.

        Every refusal costs the hashing of a secret, also that of no client: what it takes tells nobody which there are.
        """
        stored = client["client_secret"] if client is not None else None
        if secret is None:
            return False
        if client is None or stored is None or not client["hash_secret"] or not is_hash(stored):
            if stored is not None and compare_digest(secret.encode(), stored.encode()):
                return True
            self._matches(secret, DECOY)
            return False
        if not self._matches(secret, stored):
            return False
        if outdated(stored):
            self._rehash(client, secret)
        return True

    def _matches(self, secret: str, stored: str) -> bool:
        with self._threads:
            return self._kit.offload(matches, secret, stored)

    def _rehash(self, client: Entity, secret: str) -> None:
        """Bring a hash up to today's parameters, now that the secret is known, unless it has another one by now."""
        clients = self._kit.entities(CLIENTS.name)
        try:
            present = clients.select(client["id"])
            if present is not None and present["client_secret"] == client["client_secret"]:
                clients.update(client["id"], {"client_secret": secret, "hash_secret": True})
        except Exception as error:  # the client is who it says it is; another time will do
            self._kit.log.warning("oauth2: the hash of client %s could not be renewed: %s", client["id"], error)

    def _by_code(self, asked: Asked, client: Entity | None) -> dict[str, Any]:
        assert client is not None
        codes = self._kit.entities(CODES.name)
        given = asked.text("code")
        code = codes.select_by("code", given) if given is not None else None
        conf = asked.conf
        mine = (
            code is not None
            and asked.belongs_here(code)
            and code["credential"]["id"] == client["id"]
            and not (conf.global_credentials and code["plugin"] is not None and code["plugin"]["id"] != conf.plugin_id)
        )
        if code is None or not mine:
            raise Refused("invalid_request", "Invalid code")
        check_verifier(asked, code, client)
        if not codes.delete(code["id"]):  # of all who come with the same code, one deletes it
            raise Refused("invalid_request", "Invalid code")
        return self._token(asked, client, code["authenticated_userid"], code["scope"])

    def _by_client(self, asked: Asked, client: Entity | None) -> dict[str, Any]:
        assert client is not None
        user = asked.text("authenticated_userid")
        if user is not None:
            check_provision_key(asked)
        return self._token(asked, client, user, scope_of(asked), refreshable=False)

    def _by_password(self, asked: Asked, client: Entity | None) -> dict[str, Any]:
        assert client is not None
        check_provision_key(asked)
        user = user_of(asked)
        return self._token(asked, client, user, scope_of(asked))

    def _by_refresh_token(self, asked: Asked, client: Entity | None) -> dict[str, Any]:
        assert client is not None
        tokens = self._kit.entities(TOKENS.name)
        given = asked.text("refresh_token")
        token = tokens.select_by("refresh_token", given) if given is not None else None
        if token is None or not asked.belongs_here(token):
            raise Refused("invalid_request", "Invalid refresh_token")
        if token["credential"]["id"] != client["id"]:
            raise Refused(*BAD_CLIENT)
        if not set((token["scope"] or "").split()) <= set(asked.conf.scopes or ()):
            raise Refused("invalid_scope", "Scope mismatch")
        if asked.conf.reuse_refresh_token:
            fresh = {"access_token": new_token(), "created_at": int(self._now()), "expires_in": self._expires_in(asked)}
            try:
                return self._shown(asked, tokens.update(token["id"], fresh, ttl=self._life(asked)))
            except DaoError as error:
                if error.status != 404:
                    raise
                raise Refused("invalid_request", "Invalid refresh_token") from error  # it has just been revoked
        if not tokens.delete(token["id"]):
            raise Refused("invalid_request", "Invalid refresh_token")
        return self._token(asked, client, token["authenticated_userid"], token["scope"])

    # --- tokens ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _expires_in(asked: Asked) -> int:
        """Whole seconds; a part of one must not become 0, which is for ever."""
        seconds: int = math.ceil(asked.conf.token_expiration)
        return seconds

    @staticmethod
    def _life(asked: Asked) -> float | None:
        """Seconds for which the row is kept; None: forever."""
        conf = asked.conf
        return conf.refresh_token_ttl if conf.token_expiration > 0 and conf.refresh_token_ttl > 0 else None

    def _insert(self, kind: Kind, values: dict[str, Any], ttl: float | None) -> Entity:
        """Store a code or token. Raises Refused for what no entity can hold, such as a name of a megabyte."""
        try:
            return self._kit.entities(kind.name).insert(values, ttl=ttl)
        except DaoError as error:
            if error.status != 400:
                raise
            raise Refused("invalid_request", error.message) from error

    def _code(
        self, asked: Asked, client: Entity, user: str, scope: str | None, challenge: tuple[str | None, str | None]
    ) -> str:
        """Make an authorization code. `challenge`: that of PKCE and its method."""
        plugin = asked.conf.plugin_id
        made = self._insert(
            CODES,
            {
                "service": asked.service,
                "credential": {"id": client["id"]},
                "authenticated_userid": user,
                "scope": scope,
                "challenge": challenge[0],
                "challenge_method": challenge[1],
                "plugin": {"id": plugin} if plugin else None,
            },
            ttl=CODE_SECONDS,
        )
        code: str = made["code"]
        return code

    def _token(
        self, asked: Asked, client: Entity, user: str | None, scope: str | None, refreshable: bool = True
    ) -> dict[str, Any]:
        """Make a token; what the client is told of it."""
        made = self._insert(
            TOKENS,
            {
                "service": asked.service,
                "credential": {"id": client["id"]},
                "authenticated_userid": user,
                "scope": scope,
                "expires_in": self._expires_in(asked),
                "refresh_token": new_token() if refreshable else None,
            },
            ttl=self._life(asked),
        )
        return self._shown(asked, made)

    @staticmethod
    def _shown(asked: Asked, token: Entity) -> dict[str, Any]:
        shown: dict[str, Any] = {"access_token": token["access_token"], "token_type": "bearer"}
        if token["expires_in"] > 0:
            shown["expires_in"] = token["expires_in"]
        if token["refresh_token"] is not None:
            shown["refresh_token"] = token["refresh_token"]
        return asked.with_state(shown)
