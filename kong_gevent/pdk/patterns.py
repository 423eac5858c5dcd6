"""Regular expressions that users configure, on an engine whose time is linear in the text: none can hang a worker."""

from __future__ import annotations

from kong_gevent.regex import compile_regex, regex_error

__all__ = ["compile_regex", "regex_error"]
