"""oauth2: gives out access tokens, and lets in who shows one."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import time
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Exit, HeaderTemplate, Identity, Kit, checks, field_text, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Refusal, anonymous_field, challenge, classic
from kong_gevent.plugins.oauth2.entities import CLIENTS, CODES, TOKENS
from kong_gevent.plugins.oauth2.flow import Asked
from kong_gevent.plugins.oauth2.grants import Grants

GRANTS = ("enable_authorization_code", "enable_implicit_grant", "enable_client_credentials", "enable_password_grant")
EXPIRED = "The access token is invalid or has expired"
EXPIRED_CLASSIC = {"error": "invalid_request", "error_description": "access_token expired"}
GLOBAL = "The access token is global, but the current plugin is configured without 'global_credentials'"
SCOPE, USER = "X-Authenticated-Scope", "X-Authenticated-UserId"
_ENDPOINT = re.compile(r"/oauth2/(token|authorize)/?\Z")
_NAMES = {"token": "token endpoint", "authorize": "authorization endpoint"}
_BODY_METHODS = (b"POST", b"PUT", b"PATCH")


def _grant(description: str) -> fields.Boolean:
    return fields.Boolean(required=True, load_default=False, metadata={"description": description})


class OAuth2Config(Config):
    """Settings of oauth2."""

    scopes = fields.Array(fields.String(), metadata={"description": "Names of what clients may ask for."})
    mandatory_scope = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether clients have to ask for a scope."}
    )
    provision_key = fields.String(
        required=True,
        auto=True,
        unique=True,
        encrypted=True,
        metadata={"description": "What the application that knows the users proves itself with."},
    )
    token_expiration = fields.Number(
        required=True, load_default=7200, metadata={"description": "Seconds for which tokens are good; 0: forever."}
    )
    enable_authorization_code = _grant("Whether the three-legged grant with codes is allowed.")
    enable_implicit_grant = _grant("Whether tokens may be given out at once (implicit grant).")
    enable_client_credentials = _grant("Whether clients may ask for tokens of their own.")
    enable_password_grant = _grant("Whether tokens are given for a user whom the application vouches for.")
    hide_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the token is taken out of the request before the upstream gets it."},
    )
    accept_http_if_already_terminated = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether HTTPS that a trusted proxy has ended counts (`X-Forwarded-Proto`)."},
    )
    anonymous = anonymous_field("a valid token")
    global_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether tokens of one service are good for all others with this setting."},
    )
    auth_header_name = fields.String(
        load_default="authorization", metadata={"description": "Header that carries the token."}
    )
    refresh_token_ttl = fields.Number(
        required=True,
        load_default=1209600,
        between=[0, 100000000],
        metadata={"description": "Seconds for which refresh tokens are good; 0: forever."},
    )
    reuse_refresh_token = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether a refresh token may be used again."}
    )
    pkce = fields.Choice(
        "none",
        "lax",
        "strict",
        required=False,
        load_default="lax",
        metadata={"description": "Who has to use PKCE: nobody, public clients, or all clients."},
    )
    realm = fields.String(required=False, metadata={"description": "The realm named in `WWW-Authenticate`, if any."})

    config_checks = (checks.Conditional("mandatory_scope", {"eq": True}, "scopes", {"required": True}),)

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> str | None:
        """One grant at least."""
        if any(config[name] for name in GRANTS):
            return None
        return f"at least one of these fields must be true: {', '.join(GRANTS)}"


class OAuth2(AuthenticationPlugin):
    """Answers the two endpoints, and recognises consumers by their access tokens."""

    name = "oauth2"
    priority = 1400
    config = OAuth2Config
    entities = (CLIENTS, TOKENS, CODES)
    clock: Callable[[], float] = staticmethod(time)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._grants = Grants(kit, lambda: self.clock())

    def configure(self, conf: Conf) -> None:
        """Prepare the refusals."""
        conf.header = conf.auth_header_name or "authorization"
        conf.missing = self._refusal(conf, "invalid_request", "The access token is missing", quiet=True)
        conf.invalid = self._refusal(conf, "invalid_token", EXPIRED)
        conf.expired = self._refusal(conf, "invalid_token", EXPIRED)
        conf.expired.classic = classic(400, body=EXPIRED_CLASSIC)
        conf.unwanted = self._refusal(conf, "invalid_token", GLOBAL)
        conf.hidden = HeaderTemplate(cleared=(conf.header,))

    @staticmethod
    def _refusal(conf: Conf, error: str, text: str, quiet: bool = False) -> Refusal:
        """A 401; `quiet`: the challenge does not say what is wrong."""
        shown = challenge("Bearer", conf.realm)["WWW-Authenticate"]
        if not quiet:
            shown += f' error="{error}" error_description="{text}"'
        body = {"error": error, "error_description": text}
        return Refusal(401, text, {"WWW-Authenticate": shown}, plain=True, body=body, classic=classic(403))

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Answer the endpoints; everything else needs a token."""
        match = _ENDPOINT.search(ctx.path)
        if match is not None:
            return self._endpoint(ctx, conf, match.group(1))
        answer = super().access(ctx, conf)
        final: Refusal | None = getattr(ctx.own(self), "final", None)
        return answer if final is None else final.answer(ctx, self.kit.classic_answers)

    def _endpoint(self, ctx: Context, conf: Conf, which: str) -> Exit:
        if ctx.method != b"POST":
            text = f"The HTTP method {ctx.request.method} is invalid for the {_NAMES[which]}"
            refusal = self._refusal(conf, "invalid_method", text)
            return ctx.exit(405, refusal.body, refusal.headers)
        asked = Asked.of(ctx, conf)
        return self._grants.token(asked) if which == "token" else self._grants.authorize(asked)

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find the token, its client and its consumer."""
        shown = self._shown(ctx, conf)
        if not shown:
            return conf.missing  # type: ignore[no-any-return]
        token = self.kit.entities(TOKENS.name).select_by("access_token", shown, cached=True)
        if token is None:
            return conf.invalid  # type: ignore[no-any-return]
        service = token["service"]
        if service is None and not conf.global_credentials:
            ctx.own(self).final = conf.unwanted
            return conf.unwanted  # type: ignore[no-any-return]
        if service is not None and service["id"] != ctx.service_id:
            return conf.invalid  # type: ignore[no-any-return]
        if token["expires_in"] > 0 and self.clock() - token["created_at"] > token["expires_in"]:
            return conf.expired  # type: ignore[no-any-return]
        client = self.kit.entities(CLIENTS.name).select(token["credential"]["id"], cached=True)
        consumer = self.kit.load_consumer(client["consumer"]["id"]) if client is not None else None
        if client is None or consumer is None:
            raise LookupError(f"the client or consumer of token {token['id']} does not exist")
        if conf.hide_credentials:
            self._hide(ctx, conf)
        ctx.identify(Identity(consumer, client, client["client_id"]))
        for name, value in ((SCOPE, token["scope"]), (USER, token["authenticated_userid"])):
            if value:
                ctx.upstream.set_header(name, field_text(value))
        return None

    @staticmethod
    def _shown(ctx: Context, conf: Conf) -> str | None:
        """The token of a request."""
        header = ctx.request.header(conf.header)
        if header is not None:
            words = header.split()
            if len(words) == 2 and words[0].lower() in ("bearer", "token"):
                return words[1]
            return header.strip()
        value: Any = ctx.request.query_arg("access_token")
        if value is None and ctx.method in _BODY_METHODS:
            value = ctx.request.body_fields().get("access_token")
        return value if isinstance(value, str) else None

    @staticmethod
    def _hide(ctx: Context, conf: Conf) -> None:
        if ctx.request.header(conf.header) is not None:
            ctx.upstream.set_all(conf.hidden)
            return
        ctx.upstream.clear_query_arg("access_token")
        if ctx.method in _BODY_METHODS:
            ctx.upstream.clear_body_field("access_token")
