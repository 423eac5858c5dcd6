"""response-ratelimiting: limits on what answers say they cost. Only its settings are known so far."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from kong_gevent.pdk import Config, Plugin, checks, fields, redis_record, redis_shorthands

PERIODS = ("second", "minute", "hour", "day", "month", "year")


def _period(name: str) -> fields.Number:
    return fields.Number(gt=0, metadata={"description": f"What may be used per {name}."})


class Limits(Config):
    """What may be used of one resource."""

    second = _period("second")
    minute = _period("minute")
    hour = _period("hour")
    day = _period("day")
    month = _period("month")
    year = _period("year")

    config_checks = (checks.AtLeastOneOf(*PERIODS),)

    @staticmethod
    def custom_validator(limits: Mapping[str, Any]) -> str | None:
        """A longer period must not allow less than a shorter one."""
        given = [(period, limits[period]) for period in PERIODS if limits[period] is not None]
        for (shorter, fewer), (longer, more) in combinations(given, 2):
            if more < fewer:
                return f"the limit for {longer}({more:.1f}) cannot be lower than the limit for {shorter}({fewer:.1f})"
        return None


class ResponseRatelimitingConfig(Config):
    """Settings of response-ratelimiting."""

    header_name = fields.String(
        load_default="x-kong-limit", metadata={"description": "Header with which answers say what they cost."}
    )
    limit_by = fields.Choice(
        "consumer", "credential", "ip", load_default="consumer", metadata={"description": "Whose use is counted."}
    )
    policy = fields.Choice(
        "local", "cluster", "redis", load_default="local", metadata={"description": "Where counters are kept."}
    )
    fault_tolerant = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether requests pass while counting fails."}
    )
    redis = redis_record("The Redis server of policy `redis`.")
    block_on_first_violation = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether one limit that is reached blocks all."}
    )
    hide_client_headers = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether answers are silent about the limits."}
    )
    limits = fields.Map(
        fields.String(),
        fields.Record(Limits),
        required=True,
        len_min=1,
        metadata={"description": "Name of a resource → its limits."},
    )
    shorthand_fields = redis_shorthands()
    checks = tuple(
        checks.Conditional("config.policy", {"eq": "redis"}, f"config.redis.{name}", {"required": True})
        for name in ("host", "port", "timeout")
    )


class ResponseRatelimiting(Plugin):
    """The announced plugin."""

    name = "response-ratelimiting"
    priority = 900
    config = ResponseRatelimitingConfig
