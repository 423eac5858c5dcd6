"""tenant-gate: only known tenants come through, each a limited number of times; the body is signed with the tenant."""

from __future__ import annotations

from time import time

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, checks, fields


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


class TenantGate(Plugin):
    """Refuses tenants that are unknown or have used up their requests."""

    name = "tenant-gate"
    version = "1.2.0"
    priority = 900
    config = TenantGateConfig

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Find the tenant and count the request."""
        tenant = ctx.request.header(conf.header_name)
        limit = (conf.tenants or {}).get(tenant)
        if tenant is None or (limit is None and not conf.open):
            return ctx.exit(403, {"message": "unknown tenant"})
        if limit is not None:
            used = self.kit.counters.add(("tenant-gate", conf.plugin_id, tenant), 1, time() + 3600)
            if used > limit:
                return ctx.error(429)
        ctx.own(self).tenant = tenant
        ctx.upstream.set_header("X-Verified-Tenant", tenant)
        ctx.log["tenant.name"] = tenant
        return None

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
