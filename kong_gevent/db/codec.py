"""JSON as bytes for stored rows: orjson where it is installed, else the standard library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Dumper = Callable[[Any], bytes]
Loader = Callable[[bytes | str], Any]


def _standard_dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


try:
    import orjson

    dumps: Dumper = orjson.dumps
    loads: Loader = orjson.loads
except ImportError:  # pragma: no cover -- depends on the installation
    dumps, loads = _standard_dumps, json.loads
