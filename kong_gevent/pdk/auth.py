"""What all authentication plugins share: several on one route, the anonymous consumer, the refusal.

Kong's rules: without `anonymous` every authentication plugin of a route must succeed (AND). With it, a request that an
earlier plugin has authenticated passes untouched, and one that fails goes on as the anonymous consumer (OR).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kong_gevent.pdk.plugin import Plugin
from kong_gevent.schema import Record, fields

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context, Exit
    from kong_gevent.pdk.plugin import Conf


class Refusal:
    """Why a client was not recognised, and the answer that tells it. Made once, used for many requests.

    `plain`: answer with the bare JSON `{"message": …}` (`ctx.exit`) instead of the negotiated error format.
    """

    __slots__ = ("body", "headers", "message", "plain", "status")

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        plain: bool = False,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.headers = headers
        self.plain = plain
        self.body = body

    def answer(self, ctx: Context) -> Exit:
        """This refusal as the end of a request."""
        if self.plain:
            return ctx.exit(self.status, dict(self.body or {"message": self.message}), self.headers)
        return ctx.error(self.status, self.message, self.headers)


class Credential(Record):
    """Base of the schemas of what identifies consumers: a subclass adds what is particular to it."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the credential."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the credential was created (epoch seconds)."})
    consumer = fields.Foreign(
        "consumers", required=True, on_delete="cascade", metadata={"description": "Consumer that it identifies."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


class AuthenticationPlugin(Plugin):
    """Base of plugins that find out who asks. A subclass writes `authenticate`, and not `access`.

    Its `Config` has the setting `anonymous` (id or username of a consumer), and `run_on_preflight` where
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
            return refusal.answer(ctx)
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
