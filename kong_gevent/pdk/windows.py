"""Windows of time in which plugins count: fixed ones, aligned on the UTC calendar."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000, "year": 31_536_000}
"""Names and nominal lengths in s, as the reset headers count them; longer ones last."""
NO_ID = "00000000-0000-0000-0000-000000000000"
"""Stands in a counter's key where a configuration is not bound to an entity."""


def order_error(limits: Mapping[str, Any]) -> str | None:
    """What is wrong with limits by period (None: not limited): longer periods may not allow less than shorter ones."""
    given = [(period, limits[period]) for period in PERIODS if limits.get(period) is not None]
    for (short, lower), (long, upper) in combinations(given, 2):
        if upper < lower:
            return f"limit for {long}({upper:.1f}) cannot be lower than the limit for {short}({lower:.1f})"
    return None


class Window(NamedTuple):
    """The current window of one period: its part of the counter's key, its end and the value of the reset header."""

    key: str
    end: int
    reset: int


def current_windows(now: int) -> dict[str, Window]:
    """The windows around a time (s since 1970), aligned on the UTC calendar."""
    year, month = time.gmtime(now)[:2]
    starts = {period: now - now % length for period, length in PERIODS.items()}
    starts["month"] = timegm((year, month, 1, 0, 0, 0))
    starts["year"] = timegm((year, 1, 1, 0, 0, 0))
    ends = {period: starts[period] + length for period, length in PERIODS.items()}
    ends["month"] = timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))
    ends["year"] = timegm((year + 1, 1, 1, 0, 0, 0))
    return {
        period: Window(f":{start * 1000}:{period}", ends[period], max(1, PERIODS[period] - (now - start)))
        for period, start in starts.items()
    }
