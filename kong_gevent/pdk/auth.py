"""What all authentication plugins share: several on one route, the anonymous consumer, the refusal.

Kong's rules: without `anonymous` every authentication plugin of a route must succeed (AND). With it, a request that an
earlier plugin has authenticated passes untouched, and one that fails goes on as the anonymous consumer (OR).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kong_gevent.pdk.identity import Identity
from kong_gevent.pdk.plugin import Plugin
from kong_gevent.schema import Record, fields

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context, Exit
    from kong_gevent.pdk.kit import Kit
    from kong_gevent.pdk.plugin import Conf

MAX_KNOWN = 10_000
"""Clients that a worker keeps in mind for each plugin; one takes about 1 KiB, and who shows more counts for more."""


class Refusal:
    """Why a client was not recognised, and the answer that tells it. Made once, used for many requests.

    `plain`: answer with the bare JSON `{"message": …}` (`ctx.exit`) instead of the negotiated error format. `classic`:
    what is answered instead where the setting `classic_answers` asks for the answers of Kong 0.5.
    """

    __slots__ = ("body", "classic", "headers", "message", "plain", "status")

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        plain: bool = False,
        body: Mapping[str, Any] | None = None,
        classic: Refusal | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.headers = headers
        self.plain = plain
        self.body = body
        self.classic = classic

    def answer(self, ctx: Context, as_classic: bool = False) -> Exit:
        """This refusal as the end of a request; `as_classic`: whether `kit.classic_answers` is set."""
        if as_classic and self.classic is not None:
            return self.classic.answer(ctx)
        if self.plain:
            return ctx.exit(self.status, dict(self.body or {"message": self.message}), self.headers)
        return ctx.error(self.status, self.message, self.headers)


def classic(
    status: int,
    message: str = "Invalid authentication credentials",
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Refusal:
    """A refusal as Kong 0.5 answered it, for `Refusal(…, classic=…)`; wrong credentials were 403 then."""
    return Refusal(status, message, headers, plain=True, body=body)


def anonymous_field(what: str) -> fields.String:
    """The setting `anonymous` of a plugin that asks for `what`, such as `a valid key`."""
    return fields.String(metadata={"description": f"Consumer (id or username) as which requests without {what} go on."})


class Credential(Record):
    """Base of the schemas of what identifies consumers: a subclass adds what is particular to it."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the credential."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the credential was created (epoch seconds)."})
    consumer = fields.Foreign(
        "consumers", required=True, on_delete="cascade", metadata={"description": "Consumer that it identifies."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


class Known:
    """What a plugin has found out about clients, by what they showed: bounded, and forgotten when an entity changes.

    Keep nothing that follows from an entity with a `ttl`. `get(key)` gives what is kept, or None.
    """

    def __init__(self, kit: Kit, size: int = MAX_KNOWN) -> None:
        self._memory = kit.memory()
        self._size = size
        self._taken = 0
        self.get = self._memory.get

    @property
    def version(self) -> int:
        """Changes when something is forgotten; read it before the look-ups that lead to a value."""
        return self._memory.version

    def keep(self, key: Any, value: Any, version: int, octets: int = 0) -> None:
        """Keep a value, unless something has changed since `version` was read.

        `octets`: about how many both take, where the client decides it.
        """
        if self._memory.version == version:
            places = 1 + octets // 1024
            if not self._memory:
                self._taken = 0
            elif self._taken + places > self._size:
                self._memory.clear()
                self._taken = 0
            self._taken += places
            self._memory[key] = value


class AuthenticationPlugin(Plugin):
    """Base of plugins that find out who asks. A subclass writes `authenticate`, and not `access`.

    Its `Config` has the setting `anonymous` (see `anonymous_field`), and `run_on_preflight` where
    `may_skip_preflight` is set.
    """

    forbidden_scopes = ("consumer",)
    may_skip_preflight: ClassVar[bool] = False

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Recognise the client and call `ctx.authenticate`, or return why not.

        Raise when it cannot be found out (`LookupFailed`, …): the request ends with an error then, it never passes as
        the anonymous consumer.
        """
        raise NotImplementedError

    def identity(self, credential: Mapping[str, Any], identifier: str) -> Identity:
        """The identity that a credential proves. Raises `LookupError` when its consumer is gone."""
        consumer = self.kit.load_consumer(credential["consumer"]["id"])
        if consumer is None:
            raise LookupError(f"the consumer of credential {credential['id']} does not exist")
        return Identity(consumer, credential, identifier)

    def skipped(self, ctx: Context, conf: Conf) -> None:
        """An earlier plugin has authenticated the request, so this one is not asked."""

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Kong's flow around `authenticate`."""
        if self.may_skip_preflight and not conf.run_on_preflight and ctx.method == b"OPTIONS":
            return None
        anonymous = conf.anonymous
        if anonymous is not None and ctx.credential is not None:
            self.skipped(ctx, conf)
            return None
        refusal = self.authenticate(ctx, conf)
        if refusal is None:
            return None
        if anonymous is None:
            return refusal.answer(ctx, self.kit.classic_answers)
        consumer = self.kit.load_consumer(anonymous, by_username=True)
        if consumer is None:
            self.kit.log.error("%s: anonymous consumer %s is unknown or invalid", self.name, anonymous)
            return ctx.error(500)
        ctx.authenticate(consumer, None)
        return None


def challenge(scheme: str, realm: str | None) -> dict[str, str]:
    """The `WWW-Authenticate` header of a refusal: `Key`, or `Key realm="R"` when there is a realm."""
    if not realm:
        return {"WWW-Authenticate": scheme}
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return {"WWW-Authenticate": f'{scheme} realm="{quoted}"'}
