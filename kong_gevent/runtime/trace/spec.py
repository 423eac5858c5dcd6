"""What a trace is to show."""

from __future__ import annotations

from collections.abc import Mapping
from random import random
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from kong_gevent.pdk import Context


class TraceSpec:
    """Filters, all of which must hold: entities by id or name, the beginning of the path, statuses (`404`, `5xx`).

    `sample`: the share of requests that is looked at (0 to 1).
    """

    def __init__(self, spec: bytes) -> None:
        wanted: Mapping[str, Any] = orjson.loads(spec)
        self.route: str | None = wanted.get("route")
        self.service: str | None = wanted.get("service")
        self.consumer: str | None = wanted.get("consumer")
        self.path: str | None = wanted.get("path")
        self.status: list[str] = wanted.get("status") or []
        self.sample: float = wanted.get("sample", 1.0)

    def picks(self) -> bool:
        """Whether the next request is among the sample."""
        return self.sample >= 1 or random() < self.sample

    def wants(self, ctx: Context) -> bool:
        """Whether a finished request passes the filters."""
        if self.path is not None and not ctx.path.startswith(self.path):
            return False
        if self.status and not {str(ctx.status), f"{ctx.status // 100}xx"}.intersection(self.status):
            return False
        return (
            _is(ctx.matched_route, self.route)
            and _is(ctx.matched_service, self.service)
            and _is(ctx.consumer, self.consumer)
        )


def _is(entity: Mapping[str, Any] | None, key: str | None) -> bool:
    if key is None:
        return True
    return entity is not None and key in (
        entity["id"], entity.get("name"), entity.get("username"), entity.get("custom_id"),
    )  # fmt: skip
