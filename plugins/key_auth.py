"""key-auth: clients show a key in a header, in the query or in the body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Entity, HeaderTemplate, Kit, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Credential, Known, Refusal, anonymous_field, challenge, classic

NO_KEY_CLASSIC = "No API Key found in headers, body or querystring"


class KeyAuthConfig(Config):
    """Settings of key-auth."""

    key_names = fields.Array(
        fields.HeaderName(),
        required=True,
        load_default=["apikey"],
        metadata={"description": "Names under which a key is looked for, in this order."},
    )
    hide_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the key is taken out of the request before the upstream gets it."},
    )
    anonymous = anonymous_field("a valid key")
    key_in_header = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether keys are looked for in the headers."}
    )
    key_in_query = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether keys are looked for in the query."}
    )
    key_in_body = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether keys are looked for in the body: form, multipart form or JSON."},
    )
    run_on_preflight = fields.Boolean(
        required=True,
        load_default=True,
        metadata={"description": "Whether OPTIONS requests need a key; when false they pass untouched."},
    )
    realm = fields.String(metadata={"description": "The realm named in `WWW-Authenticate`, if any."})


class KeyauthCredential(Credential):
    """Schema of a key."""

    key = fields.String(unique=True, auto=True, metadata={"description": "The key; 32 random characters if not given."})


CREDENTIALS = Entity(
    "keyauth_credentials",
    KeyauthCredential(),
    collection="key-auths",
    nested="key-auth",
    endpoint_key="key",
    cache_key=("key",),
    ttl=True,
)


class KeyAuth(AuthenticationPlugin):
    """Recognises consumers by their key."""

    name = "key-auth"
    priority = 1250
    config = KeyAuthConfig
    entities = (CREDENTIALS,)
    may_skip_preflight = True

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)

    def configure(self, conf: Conf) -> None:
        """Prepare the refusals and what hiding a key changes."""
        headers = challenge("Key", conf.realm)
        nothing = classic(401, NO_KEY_CLASSIC, challenge("Key", conf.realm or "kong"))
        conf.no_key = Refusal(401, "No API key found in request", headers, classic=nothing)
        conf.duplicate = Refusal(401, "Duplicate API key found", headers, classic=classic(403))
        conf.unknown = Refusal(401, "Unauthorized", headers, classic=classic(403))
        usual = conf.key_in_header and not conf.hide_credentials and conf.key_names
        conf.usual_header = conf.key_names[0] if usual else None
        conf.hidden = {name: HeaderTemplate(cleared=(name,)) for name in conf.key_names}

    def credential_names(self, conf: Conf) -> Iterable[str]:
        """Where keys are looked for."""
        return conf.key_names  # type: ignore[no-any-return]

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find the key, its credential and its consumer."""
        # A key in the header of the first name is the usual case, and decides without looking anywhere else.
        key = ctx.field(conf.usual_header) if conf.usual_header is not None else None
        if key is None:
            key = self._find(ctx, conf)
        if isinstance(key, list):
            return conf.duplicate  # type: ignore[no-any-return]
        if not key:
            return conf.no_key  # type: ignore[no-any-return]
        known = self.known.get(key)
        if known is not None:
            ctx.identify(known)
            return None
        version = self.known.version
        credential = self.kit.select_by("keyauth_credentials", "key", key if key.isascii() else _as_utf8(key))
        if credential is None:
            return conf.unknown  # type: ignore[no-any-return]
        identity = self.identity(credential, credential["id"])
        if credential.get("ttl") is None:
            self.known.keep(key, identity, version)
        ctx.identify(identity)
        return None

    def _find(self, ctx: Context, conf: Conf) -> str | list[Any] | None:
        """The key; a list when it came more than once; empty or None when there is none."""
        body: dict[str, Any] | None = None
        for name in conf.key_names:
            value: Any = None
            if conf.key_in_header:
                value = ctx.field(name)
            if value is None and conf.key_in_query:
                value = ctx.request.query_arg(name)
            if value is None and conf.key_in_body:
                if body is None:
                    body = ctx.request.body_fields()
                value = body.get(name)
            if isinstance(value, str):
                if conf.hide_credentials:
                    self._hide(ctx, conf, name)
                return value
            if isinstance(value, (list, dict)):
                return list(value)
        return None

    def _hide(self, ctx: Context, conf: Conf, name: str) -> None:
        upstream = ctx.upstream
        upstream.set_all(conf.hidden[name])
        upstream.clear_query_arg(name)
        if conf.key_in_body:
            upstream.clear_body_field(name)


def _as_utf8(key: str) -> str:
    """A key from a header, where bytes are told as latin-1, in the encoding of the Admin API; others as they are."""
    try:
        return key.encode("latin-1").decode()
    except ValueError:
        return key
