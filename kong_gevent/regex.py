"""Regular expressions that users configure, on google-re2: time linear in the text, so that none can hang a worker.

The engine has no back-references and no look-around; such an expression is refused where it is configured.
"""

from __future__ import annotations

from typing import Any

import re2


def options(*, case_sensitive: bool = True) -> Any:
    """Options of the engine that keep it from writing to stderr."""
    made = re2.Options()
    made.log_errors = False
    made.case_sensitive = case_sensitive
    return made


def compile_regex(pattern: str | bytes, *, case_sensitive: bool = True) -> Any:
    """A compiled expression with `search`, `match` and `fullmatch` for texts of the pattern's own type.

    Raises ValueError with the engine's reason.
    """
    try:
        return re2.compile(pattern, options=options(case_sensitive=case_sensitive))
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be compiled"
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise ValueError("invalid utf-8") from None


def regex_error(pattern: str) -> str | None:
    """Why an expression cannot be compiled, or None."""
    try:
        compile_regex(pattern)
    except ValueError as error:
        return str(error)
    return None
