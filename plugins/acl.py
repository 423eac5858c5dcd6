"""acl: lets consumers of some groups through, or all but those of some groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Entity, Exit, HeaderTemplate, Kit, Plugin, checks, field_text, fields
from kong_gevent.pdk.auth import Credential, Known, Refusal, classic

CONSUMER_GROUPS, OTHER_GROUPS = "X-Consumer-Groups", "X-Authenticated-Groups"
MAX_TOLD = 1000
"""Lists of groups whose header a configuration keeps ready, for all who are in the same groups."""
Verdict = Refusal | HeaderTemplate
"""A refusal, or what the upstream is told."""
UNKNOWN_CLASSIC = "Cannot identify the consumer, add an authentication plugin to use the ACL plugin"
NOT_ALLOWED = "You cannot consume this service"
UNKNOWN = Refusal(401, "Unauthorized", classic=classic(403, UNKNOWN_CLASSIC))
REFUSED = Refusal(403, NOT_ALLOWED, classic=classic(403, NOT_ALLOWED))


class AclConfig(Config):
    """Settings of acl."""

    allow = fields.Array(
        fields.String(), metadata={"description": "Groups whose consumers may come in; no others may."}
    )
    deny = fields.Array(fields.String(), metadata={"description": "Groups whose consumers may not come in."})
    hide_groups_header = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the upstream is not told the groups in `X-Consumer-Groups`."},
    )
    always_use_authenticated_groups = fields.Boolean(
        required=True,
        load_default=False,
        metadata={
            "description": "Whether groups found by the authentication count instead of those of the consumer, "
            "also when there is a credential."
        },
    )

    checks = (
        checks.OnlyOneOf("config.allow", "config.deny"),
        checks.AtLeastOneOf("config.allow", "config.deny"),
    )


class Acl(Credential):
    """Schema of a membership."""

    group = fields.String(required=True, metadata={"description": "The group that the consumer is in."})


MEMBERSHIPS = Entity(
    "acls",
    Acl(),
    nested="acls",
    nested_key="group",
    unique_together=[("consumer", "group")],
    cache_key=("consumer", "group"),
    listed_by=("consumer",),
)


class AclPlugin(Plugin):
    """Judges consumers by their groups."""

    name = "acl"
    priority = 950
    config = AclConfig
    forbidden_scopes = ("consumer",)
    entities = (MEMBERSHIPS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.memberships = kit.entities("acls")
        self.known = Known(kit)

    def configure(self, conf: Conf) -> None:
        """Prepare the listed groups."""
        conf.listed = frozenset(conf.allow or conf.deny or ())
        conf.allows = bool(conf.allow)
        conf.told = {}

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Find the groups that count, and judge them."""
        identity = ctx.identity
        groups = ctx.authenticated_groups
        credential = None if identity is None else identity.credential
        consumer_id = None if identity is None else identity.consumer_id or _owner(credential)
        if groups is not None and (consumer_id is None or credential is None or conf.always_use_authenticated_groups):
            return self._answer(ctx, _judged(conf, groups, OTHER_GROUPS))
        if consumer_id is None:
            return self._answer(ctx, UNKNOWN if credential is None else REFUSED)
        key = (conf, consumer_id, credential is None)
        verdict = self.known.get(key)
        if verdict is None:
            version = self.known.version
            verdict = self._verdict(conf, consumer_id, credential is None)
            self.known.keep(key, verdict, version)
        return self._answer(ctx, verdict)

    def _verdict(self, conf: Conf, consumer_id: str, is_anonymous: bool) -> Verdict:
        entries = self.memberships.children("consumer", consumer_id, cached=True)
        if not entries and conf.allows:
            return UNKNOWN if is_anonymous else REFUSED
        return _judged(conf, sorted(entry["group"] for entry in entries), CONSUMER_GROUPS)

    def _answer(self, ctx: Context, verdict: Verdict) -> Exit | None:
        if isinstance(verdict, HeaderTemplate):
            ctx.set_upstream(verdict)
            return None
        return verdict.answer(ctx, self.kit.classic_answers)


def _owner(credential: Any) -> str | None:
    """The consumer's id that a credential names, for credentials without a consumer that is known."""
    consumer = credential.get("consumer") if credential else None
    return consumer["id"] if consumer else None


def _judged(conf: Conf, groups: Sequence[str], header: str) -> Verdict:
    """What follows from the groups; the upstream hears of groups from nobody but us."""
    if conf.listed.isdisjoint(groups) is conf.allows:
        return REFUSED
    text = None if conf.hide_groups_header else ", ".join(groups)
    known: HeaderTemplate | None = conf.told.get((header, text))
    if known is None:
        told = [] if text is None else [(header, HeaderTemplate.constant(field_text(text)))]
        known = HeaderTemplate(told, cleared=(CONSUMER_GROUPS, OTHER_GROUPS))
        if len(conf.told) >= MAX_TOLD:
            conf.told.clear()
        conf.told[header, text] = known
    return known
