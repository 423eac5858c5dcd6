"""tenant-gate: only known tenants come through, each a limited number of times; the body is signed with the tenant.

Who has a pass of a tenant comes through once without being counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from time import time
from typing import Any

from kong_gevent.pdk import (
    Conf,
    Config,
    Context,
    Entity,
    Errors,
    Exit,
    Kit,
    Plugin,
    Reader,
    Record,
    checks,
    fields,
    offload,
)
from tenant_gate.codes import hashed


class TenantGateConfig(Config):
    """Settings of tenant-gate."""

    header_name = fields.HeaderName(
        required=True, load_default="X-Tenant", metadata={"description": "The header that names the tenant."}
    )
    tenants = fields.Map(
        keys=fields.String(),
        values=fields.Integer(gt=0),
        metadata={"description": "Names of the tenants, and how many requests each of them may make."},
    )
    open = fields.Boolean(load_default=False, metadata={"description": "Whether every tenant may come in."})

    config_checks = (checks.AtLeastOneOf("tenants", "open"),)


class GatePass(Record):
    """Schema of a pass: lets one request of a tenant through."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the pass."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the pass was created (epoch seconds)."})
    consumer = fields.Foreign("consumers", on_delete="cascade", metadata={"description": "Consumer that holds it."})
    code = fields.String(required=True, unique=True, metadata={"description": "The code; kept as a hash."})
    tenant = fields.String(required=True, metadata={"description": "The tenant that it stands for."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


def hash_code(values: dict[str, Any], given: AbstractSet[str], stored: Mapping[str, Any] | None) -> Errors:
    """Codes are kept as hashes; a change that sends none keeps the old one."""
    if stored is None or "code" in given:
        values["code"] = offload(hashed, values["code"])
    return {}


def holder_is_known(values: dict[str, Any], reader: Reader) -> Errors:
    """Passes of consumers without a name would be of no use."""
    consumer = reader.get("consumers", values["consumer"]["id"]) if values["consumer"] else None
    return {"consumer": "must have a username"} if consumer and consumer["username"] is None else {}


PASSES = Entity(
    "gate_passes",
    GatePass(),
    collection="gate-passes",
    nested="passes",
    nested_key="tenant",
    unique_together=[("consumer", "tenant")],
    cache_key=("code",),
    listed_by=("consumer",),
    transform=hash_code,
    check=holder_is_known,
)


class GateVisit(Record):
    """Schema of a visit: remembered for a while, and shown to nobody."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the visit."})
    tenant = fields.String(required=True, unique=True, metadata={"description": "The tenant that was there."})


VISITS = Entity("gate_visits", GateVisit(), ttl=True, admin=False, exported=False)


class TenantGate(Plugin):
    """Refuses tenants that are unknown or have used up their requests."""

    name = "tenant-gate"
    version = "1.2.0"
    priority = 900
    config = TenantGateConfig
    entities = (PASSES, VISITS)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.passes = kit.entities("gate_passes")
        self.visits = kit.entities("gate_visits")

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Find the tenant and count the request."""
        tenant, used_pass = self._pass_of(ctx) or (ctx.request.header(conf.header_name), False)
        limit = None if used_pass else (conf.tenants or {}).get(tenant)
        if tenant is None or (limit is None and not conf.open and not used_pass):
            return ctx.exit(403, {"message": "unknown tenant"})
        if limit is not None:
            used = self.kit.counters.add(("tenant-gate", conf.plugin_id, tenant), 1, time() + 3600)
            if used > limit:
                return ctx.error(429)
        ctx.own(self).tenant = tenant
        ctx.upstream.set_header("X-Verified-Tenant", tenant)
        ctx.log["tenant.name"] = tenant
        return None

    def _pass_of(self, ctx: Context) -> tuple[str, bool] | None:
        """The tenant of a pass that nobody has used before."""
        code = ctx.request.header("X-Pass")
        found = self.passes.select_by("code", self.kit.offload(hashed, code)) if code else None
        if found is None or not self.passes.delete(found["id"]):
            return None
        if self.visits.select_by("tenant", found["tenant"]) is None:
            self.visits.insert({"tenant": found["tenant"]}, ttl=60)
        return found["tenant"], True

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """The body will grow, so its announced length goes."""
        if hasattr(ctx.own(self), "tenant"):
            ctx.response.set_header("X-Served-Tenant", ctx.own(self).tenant)
            ctx.response.clear_header("Content-Length")

    def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> bytes | None:
        """Sign the end of the body."""
        if not last or not hasattr(ctx.own(self), "tenant"):
            return None
        return chunk + f"\n-- {ctx.own(self).tenant}".encode()
