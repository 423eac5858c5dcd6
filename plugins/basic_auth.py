"""basic-auth: clients show a name and a password (RFC 7617)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from hashlib import sha1
from hmac import compare_digest
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Entity, Errors, HeaderTemplate, Kit, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Credential, Known, Refusal, anonymous_field, challenge, classic

PROXY_AUTHORIZATION, AUTHORIZATION = "Proxy-Authorization", "Authorization"
_CREDENTIALS = re.compile(r"[Bb]asic\s*(.+)", re.DOTALL)
_NOBODY = "0" * 40


class BasicAuthConfig(Config):
    """Settings of basic-auth."""

    anonymous = anonymous_field("valid credentials")
    hide_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether name and password are taken out of the request before the upstream gets it."},
    )
    realm = fields.String(
        required=True, load_default="service", metadata={"description": "The realm named in `WWW-Authenticate`."}
    )


class BasicauthCredential(Credential):
    """Schema of a name with its password."""

    username = fields.String(required=True, unique=True, metadata={"description": "The name."})
    password = fields.String(
        required=True,
        encrypted=True,
        metadata={"description": "The password; kept and shown as a hash of it and the consumer's id."},
    )


def hashed(password: bytes, consumer_id: str) -> str:
    """How Kong keeps passwords: SHA-1 of the password followed by the consumer's id, in hex."""
    return sha1(password + consumer_id.encode(), usedforsecurity=False).hexdigest()


def hash_password(values: dict[str, Any], given: AbstractSet[str], stored: Mapping[str, Any] | None) -> Errors:
    """Keep the hash. It depends on the consumer, so a change has to have both or none of the two."""
    if stored is not None:
        moved = values["consumer"] != stored["consumer"]
        if moved if "password" not in given else "consumer" not in given:
            return {"@entity": ["all or none of these fields must be set: 'password', 'consumer.id'"]}
        if "password" not in given:
            return {}
    values["password"] = hashed(values["password"].encode(), values["consumer"]["id"])
    return {}


CREDENTIALS = Entity(
    "basicauth_credentials",
    BasicauthCredential(),
    collection="basic-auths",
    nested="basic-auth",
    endpoint_key="username",
    cache_key=("username",),
    transform=hash_password,
)


class BasicAuth(AuthenticationPlugin):
    """Recognises consumers by name and password."""

    name = "basic-auth"
    priority = 1100
    config = BasicAuthConfig
    entities = (CREDENTIALS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)

    def configure(self, conf: Conf) -> None:
        """Prepare the refusals and what hiding the credentials changes."""
        headers = challenge("Basic", conf.realm)
        conf.nothing = Refusal(401, "Unauthorized", headers, classic=classic(401, "Unauthorized", headers))
        conf.refusal = Refusal(401, "Unauthorized", headers, classic=classic(403))
        conf.hidden = {name: HeaderTemplate(cleared=(name,)) for name in (PROXY_AUTHORIZATION, AUTHORIZATION)}

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find name and password, `Proxy-Authorization` first, and compare the hash."""
        version = self.known.version
        found, refusal = None, conf.nothing
        for name in (PROXY_AUTHORIZATION, AUTHORIZATION):
            value = ctx.field(name)
            if value is None:
                continue
            refusal = conf.refusal
            if conf.hide_credentials:
                ctx.set_upstream(conf.hidden[name])
            identity = self.known.get(value) if isinstance(value, str) else None
            if identity is not None:
                ctx.identify(identity)
                return None
            found = parsed(value) if isinstance(value, str) else None
            credential = self.kit.select_by("basicauth_credentials", "username", found[0]) if found else None
            # A name that nobody has takes the same way as one with another password.
            if found and self._matches(found[1], credential) and credential is not None:
                identity = self.identity(credential, credential["username"])
                self.known.keep(value, identity, version, len(value))
                ctx.identify(identity)
                return None
            if credential is not None:
                break  # the first name that exists decides
        return refusal  # type: ignore[no-any-return]

    @staticmethod
    def _matches(password: bytes, credential: Mapping[str, Any] | None) -> bool:
        stored, consumer_id = (credential["password"], credential["consumer"]["id"]) if credential else (_NOBODY, "")
        return compare_digest(hashed(password, consumer_id).encode(), stored.encode())


def parsed(value: str) -> tuple[str, bytes] | None:
    """Name and password of a header's value; None when it has none that could be meant."""
    match = _CREDENTIALS.search(value)
    if match is None:
        return None
    try:
        name, colon, password = b64decode(match.group(1), validate=True).partition(b":")
        return (name.decode(), password) if name and colon else None
    except ValueError:
        return None
