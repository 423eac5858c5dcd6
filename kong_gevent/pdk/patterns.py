"""Regular expressions that users configure, on an engine whose time is linear in the text: none can hang a worker."""

from __future__ import annotations

from typing import Any

import re2

from kong_gevent.schema.patterns import regex_error

__all__ = ["compile_regex", "regex_error"]


def compile_regex(pattern: str) -> Any:
    """A compiled expression with `search`, `match` and `fullmatch`; `re2.error` for what `regex_error` refuses."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options=options)
