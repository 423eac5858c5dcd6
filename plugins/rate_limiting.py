"""rate-limiting: how many requests per second, minute, hour, day, month and year."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from operator import sub
from typing import Any

from kong_gevent.pdk import (
    Conf,
    Config,
    Context,
    Exit,
    GatewayError,
    HeaderTemplate,
    Kit,
    Plugin,
    checks,
    fields,
    policy_fields,
    redis_needed,
    redis_shorthands,
)
from kong_gevent.pdk.windows import NO_ID, PERIODS, Window, current_windows, order_error

MESSAGE = "API rate limit exceeded"
MAX_IDENTIFIER = 128
"""Longer values of a header are counted under a digest, since workers and Redis remember whom they count."""


def _limit(period: str) -> fields.Number:
    return fields.Number(gt=0, metadata={"description": f"Requests that may be made per {period}."})


class RateLimitingConfig(Config):
    """Settings of rate-limiting."""

    second = _limit("second")
    minute = _limit("minute")
    hour = _limit("hour")
    day = _limit("day")
    month = _limit("month")
    year = _limit("year")
    limit_by = fields.Choice(
        "consumer",
        "credential",
        "ip",
        "service",
        "header",
        "path",
        load_default="consumer",
        metadata={"description": "Whose requests are counted together; the client's address where that is unknown."},
    )
    header_name = fields.HeaderName(metadata={"description": "The header whose values are told apart (by `header`)."})
    path = fields.Path(metadata={"description": "The path whose requests are counted together (by `path`)."})
    policy, fault_tolerant, redis = policy_fields(len_min=0)
    hide_client_headers = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether clients are not told their limits."}
    )
    error_code = fields.Number(gt=0, load_default=429, metadata={"description": "Status of the refusal."})
    error_message = fields.String(load_default=MESSAGE, metadata={"description": "Text of the refusal."})
    sync_rate = fields.Number(
        required=True,
        load_default=-1,
        metadata={"description": "Seconds between synchronisations with Redis; -1 counts there at once."},
    )

    shorthand_fields = redis_shorthands()
    checks = (
        checks.AtLeastOneOf(*(f"config.{period}" for period in PERIODS)),
        *redis_needed("config.policy", "config.redis"),
        checks.Conditional("config.limit_by", {"eq": "header"}, "config.header_name", {"required": True}),
        checks.Conditional("config.limit_by", {"eq": "path"}, "config.path", {"required": True}),
    )

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> str | dict[str, str] | None:
        """Longer periods may not allow less than shorter ones; `sync_rate` belongs to Redis."""
        if error := order_error(config):
            return f"The {error}"
        policy, sync_rate = config["policy"], config["sync_rate"]
        if policy != "redis" and sync_rate != -1:
            return "sync_rate can only be used with the redis policy"
        if sync_rate != -1 and sync_rate < 0.02:
            return "sync_rate must be greater than 0.02, or -1 to disable"
        return None


class RateLimiting(Plugin):
    """Counts requests in fixed windows and refuses those above a limit."""

    name = "rate-limiting"
    priority = 910
    config = RateLimitingConfig

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.clock: Callable[[], float] = time.time
        self._second = 0
        self._windows: dict[str, Window] = {}

    def configure(self, conf: Conf) -> None:
        """Prepare limits, keys and headers."""
        conf.periods = tuple((period, getattr(conf, period)) for period in PERIODS if getattr(conf, period) is not None)
        conf.prepared = 0
        conf.windows = ()
        conf.spare = tuple(limit - 1 for _, limit in conf.periods)  # what the first request of a window leaves
        conf.complained = 0
        conf.opened = self._open_counters(conf)
        conf.key = f"ratelimit:{conf.route_id or NO_ID}:{conf.service_id or NO_ID}:"
        conf.identify = identifier(conf)
        number = "%d" if all(isinstance(limit, int) for _, limit in conf.periods) else "%a"
        lines: list[tuple[str, str | bytes]] = []
        for period, limit in conf.periods:
            lines.append((f"X-RateLimit-Limit-{period.title()}", HeaderTemplate.constant(limit)))
            lines.append((f"X-RateLimit-Remaining-{period.title()}", number))
        lines += [("RateLimit-Limit", number), ("RateLimit-Remaining", number), ("RateLimit-Reset", "%d")]
        conf.headers = HeaderTemplate(lines)
        conf.refused_headers = HeaderTemplate([*lines, ("Retry-After", "%d")])
        code = conf.error_code or 429
        # Kong fails where this is no status of an error, and so answers 500.
        conf.status, conf.text = (int(code), conf.error_message) if 400 <= code <= 599 else (500, None)

    def _open_counters(self, conf: Conf) -> tuple[Any, ...]:
        """Set `consume` for the policy; returns what has to be closed some day."""
        if conf.policy == "cluster":
            counters = self.kit.shared_counters(conf.fault_tolerant)
        elif conf.policy == "redis":
            server = self.kit.redis(conf.redis)
            counters = server.counters(conf.sync_rate)
            conf.consume = counters.consume
            return counters, server
        else:
            conf.consume = self.kit.counters.consume
            return ()
        conf.consume = counters.consume
        return (counters,)

    def retire(self, conf: Conf) -> None:
        """Let the counters go."""
        for opened in conf.opened:
            opened.close()

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Count the request, or refuse it."""
        now = int(self.clock())
        if now != conf.prepared:
            self._prepare(conf, now)
        windows = conf.windows
        try:
            passes, used = conf.consume((conf.key, conf.identify(ctx)), windows)
        except GatewayError as error:
            if now != conf.complained:
                conf.complained = now
                self.kit.log.error("rate-limiting: the counters cannot be reached: %s", error)
            return None if conf.fault_tolerant else ctx.error(500)
        if not passes:
            return self._refuse(ctx, conf, windows, used)
        if not conf.hide_client_headers:
            left = tuple(map(sub, conf.spare, used))
            least = min(left)
            # Longer windows come later, and of equally tight ones the longest is told.
            _, limit, _, reset = windows[-1 - left[::-1].index(least)]
            if least < 0:  # a limit that is no whole number
                least, left = 0, tuple(max(0, number) for number in left)
            ctx.set_response(conf.headers, (*left, limit, least, reset))
        return None

    def _refuse(self, ctx: Context, conf: Conf, windows: tuple[Any, ...], used: list[int]) -> Exit:
        """The answer when a window is full; of several full ones the longest is told, so that waiting helps."""
        if not conf.hide_client_headers:
            limits = [window[1] for window in windows]
            full = max(at for at, (limit, count) in enumerate(zip(limits, used, strict=True)) if limit <= count)
            values = [
                max(0, limit - count - 1 if at == full else limit - count)
                for at, (limit, count) in enumerate(zip(limits, used, strict=True))
            ]
            _, limit, _, reset = windows[full]
            ctx.response.set_all(conf.refused_headers, (*values, limit, values[full], reset, reset))
        return ctx.error(conf.status, conf.text)

    def _prepare(self, conf: Conf, now: int) -> None:
        """Bring the windows up to date: once per second and configuration."""
        if now != self._second:
            self._second, self._windows = now, current_windows(now)
        current = self._windows
        conf.windows = tuple(
            (current[period].key, limit, current[period].end, current[period].reset) for period, limit in conf.periods
        )
        conf.prepared = now


def identifier(conf: Conf) -> Callable[[Context], str]:
    """What tells whose requests are counted together; the client's address where that is unknown."""
    header_name, path = conf.header_name, conf.path

    def consumer(ctx: Context) -> str:
        identity = ctx.identity
        if identity is not None and identity.consumer_id is not None:
            return identity.consumer_id
        return credential(ctx)

    def credential(ctx: Context) -> str:
        found = ctx.credential
        return found["id"] if found is not None else ctx.client_ip

    def service(ctx: Context) -> str:
        return ctx.service_id or ctx.client_ip

    def header(ctx: Context) -> str:
        value = ctx.request.header(header_name) or ctx.client_ip
        return value if len(value) <= MAX_IDENTIFIER else hashlib.sha256(value.encode("latin-1")).hexdigest()

    def by_path(ctx: Context) -> str:
        return path if ctx.request.path == path else ctx.client_ip

    chosen = {"consumer": consumer, "credential": credential, "service": service, "header": header, "path": by_path}
    return chosen.get(conf.limit_by) or (lambda ctx: ctx.client.ip)
