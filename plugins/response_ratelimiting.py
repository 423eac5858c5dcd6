"""response-ratelimiting: how much clients may use up, as the upstream tells it in a header of its answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kong_gevent.pdk import (
    Conf,
    Config,
    Context,
    Exit,
    GatewayError,
    Kit,
    Plugin,
    checks,
    fields,
    policy_fields,
    redis_needed,
    redis_shorthands,
)
from kong_gevent.pdk.windows import NO_ID, PERIODS, current_windows, order_error

DEFAULT_HEADER = "x-kong-limit"
_NO_NAME = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
"""What cannot stand in the name of a header."""
MOST_DIGITS = 15
"""Digits of the largest use that counts; a sum of many stays within what counters hold."""
Windows = tuple[tuple[str, float, float], ...]
"""Names, limits and ends (epoch s) of some windows."""


def _order_error(limits: Mapping[str, Any]) -> str | None:
    error = order_error(limits)
    return f"the {error}" if error else None


def _periods() -> dict[str, fields.Number]:
    return {
        period: fields.Number(gt=0, metadata={"description": f"Units that may be used per {period}."})
        for period in PERIODS
    }


class ResponseRatelimitingConfig(Config):
    """Settings of response-ratelimiting."""

    header_name = fields.String(
        load_default=DEFAULT_HEADER,
        metadata={"description": "The header in which the upstream tells what was used, as `name=1, other=2`."},
    )
    limit_by = fields.Choice(
        "consumer",
        "credential",
        "ip",
        load_default="consumer",
        metadata={"description": "Whose use is counted together; the client's address where that is unknown."},
    )
    policy, fault_tolerant, redis = policy_fields()
    block_on_first_violation = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether requests are refused as soon as one of the limits is used up."},
    )
    hide_client_headers = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether clients are not told their limits."}
    )
    limits = fields.Map(
        keys=fields.String(),
        values=fields.Record(_periods(), checks=[checks.AtLeastOneOf(*PERIODS)], custom_validator=_order_error),
        required=True,
        len_min=1,
        metadata={"description": "Limits by name: for each at least one of `second` … `year`."},
    )

    shorthand_fields = redis_shorthands()
    checks = redis_needed("config.policy", "config.redis")


class LocalUse:
    """The node's own counters behind the methods of `SharedCounters` that are needed here."""

    def __init__(self, kit: Kit) -> None:
        self._counters = kit.counters

    def usage(self, owner: tuple[str, ...], windows: Windows) -> list[int]:
        """What has been counted."""
        return [self._counters.value((owner, window[0])) for window in windows]

    def add(self, owner: tuple[str, ...], windows: Windows, amount: int) -> None:
        """Count."""
        for name, _, ends in windows:
            self._counters.add((owner, name), amount, ends)

    def close(self) -> None:
        """There is nothing to let go."""


class ResponseRatelimiting(Plugin):
    """Counts what the upstream says was used; refuses answers, or requests, beyond a limit."""

    name = "response-ratelimiting"
    priority = 900
    config = ResponseRatelimitingConfig

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.clock: Callable[[], float] = time.time

    def configure(self, conf: Conf) -> None:
        """Prepare limits and keys, and open the counters."""
        conf.header = conf.header_name or DEFAULT_HEADER
        conf.named = [
            (name, [(period, limits[period]) for period in PERIODS if limits.get(period) is not None])
            for name, limits in conf.limits.items()
        ]
        conf.shown = {name: _NO_NAME.sub("-", name) for name in conf.limits}
        conf.key = f"response-ratelimit:{conf.route_id or NO_ID}:{conf.service_id or NO_ID}:"
        conf.prepared = 0
        conf.windows, conf.all_windows = (), {}
        if conf.policy == "cluster":
            conf.counters = self.kit.shared_counters(conf.fault_tolerant)
            conf.opened = (conf.counters,)
        elif conf.policy == "redis":
            server = self.kit.redis(conf.redis)
            conf.counters = server.counters()
            conf.opened = (conf.counters, server)
        else:
            conf.counters = LocalUse(self.kit)
            conf.opened = ()

    def retire(self, conf: Conf) -> None:
        """Let the counters go."""
        for opened in conf.opened:
            opened.close()

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Find out what is left, and tell the upstream."""
        now = int(self.clock())
        if now != conf.prepared:
            self._prepare(conf, now)
        own = ctx.own(self)
        owner = (conf.key, _identifier(ctx, conf.limit_by))
        windows: Windows = conf.windows
        try:
            used = conf.counters.usage(owner, windows)
        except GatewayError as error:
            return self._failed(ctx, conf, error)
        own.owner, own.all_windows = owner, conf.all_windows
        own.left = {}
        counts = iter(used)
        for name, periods in conf.named:
            own.left[name] = [(period, limit, limit - next(counts)) for period, limit in periods]
        for name, left in own.left.items():
            least = min(remaining for _, _, remaining in left)
            if conf.block_on_first_violation and least <= 0:
                return ctx.error(429, f"API rate limit exceeded for '{name}'")
        for name, left in own.left.items():
            least = max(0, min(remaining for _, _, remaining in left))
            ctx.upstream.set_header(f"X-RateLimit-Remaining-{conf.shown[name]}", least)
        return None

    def _prepare(self, conf: Conf, now: int) -> None:
        """Bring the windows up to date: once per second and configuration."""
        current = current_windows(now)

        def window(name: str, period: str, limit: float) -> tuple[str, float, float]:
            start = current[period].key.rpartition(":")[0]
            return f"{start}:{name}:{period}", limit, current[period].end

        # Limits of 0: the counters are looked at and nothing is counted.
        conf.windows = tuple(window(name, period, 0) for name, periods in conf.named for period, _ in periods)
        conf.all_windows = {name: tuple(window(name, period, 0) for period in PERIODS) for name, _ in conf.named}
        conf.prepared = now

    def _failed(self, ctx: Context, conf: Conf, error: GatewayError) -> Exit | None:
        self.kit.log.error("response-ratelimiting: the counters cannot be reached: %s", error)
        return None if conf.fault_tolerant else ctx.error(500)

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Read what was used and tell the client what is left; an answer beyond a limit is withheld."""
        own = ctx.own(self)
        left = getattr(own, "left", None)
        if left is None:
            return
        response = ctx.response
        use = parse_use(response.header_values(conf.header))
        response.clear_header(conf.header)
        if ctx.source != "service":  # of what was not asked of the upstream nothing is used up
            use = {}
        own.use = {name: amount for name, amount in use.items() if name in left and amount > 0}
        if not conf.hide_client_headers:
            self._tell(ctx, conf, left, own.use)
        if any(remaining <= 0 for name in own.use for _, _, remaining in left[name]):
            own.use, own.withheld = {}, True
            response.status = 429
            response.clear_header("Content-Length")
            response.clear_header("Content-Encoding")

    @staticmethod
    def _tell(ctx: Context, conf: Conf, left: Mapping[str, Any], use: Mapping[str, int]) -> None:
        for name, periods in left.items():
            shown = conf.shown[name]
            for period, limit, remaining in periods:
                rest = max(0, remaining - use.get(name, 0))
                ctx.response.set_header(f"X-RateLimit-Limit-{shown}-{period}", limit)
                ctx.response.set_header(f"X-RateLimit-Remaining-{shown}-{period}", rest)
            least = max(0, min(remaining for _, _, remaining in periods) - use.get(name, 0))
            ctx.response.set_header(f"X-RateLimit-Remaining-{shown}", least)

    def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> bytes | None:
        """Nothing of an answer that is withheld."""
        return b"" if getattr(ctx.own(self), "withheld", False) else None

    def log(self, ctx: Context, conf: Conf) -> None:
        """Count what was used, in all periods."""
        own = ctx.own(self)
        for name, amount in getattr(own, "use", {}).items():
            try:
                conf.counters.add(own.owner, own.all_windows[name], amount)
            except GatewayError as error:
                self.kit.log.error("response-ratelimiting: %d of %s could not be counted: %s", amount, name, error)


def parse_use(values: Iterable[str]) -> dict[str, int]:
    """`name=1, other=2` taken apart; what is malformed is left out, equal names are added up."""
    found: dict[str, int] = {}
    for part in ",".join(values).split(","):
        name, _, amount = (text.strip() for text in part.partition("="))
        if name and amount.isascii() and amount.isdigit() and len(amount) <= MOST_DIGITS:
            found[name] = found.get(name, 0) + int(amount)
    return found


def _identifier(ctx: Context, limit_by: str | None) -> str:
    if limit_by in (None, "consumer") and ctx.consumer_id is not None:
        return ctx.consumer_id
    credential = ctx.credential
    if limit_by != "ip" and credential is not None:
        return str(credential["id"])
    return ctx.client_ip
