"""What one setting is, and the short rows that the tables of settings are written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["string", "number", "integer", "boolean", "ngx_boolean", "array", "size", "time", "enum"]
FROM_0: dict[str, object] = {"minimum": 0}
"""An option of `rows`: nothing below 0; `FROM_1`: nothing below 1."""
FROM_1: dict[str, object] = {"minimum": 1}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `default` is text as in a file (None: unset); sizes are bytes, times are seconds once parsed."""

    name: str
    type: Type
    default: str | None
    help: str
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    used: bool = True
    """False: accepted so that Kong's files load, but nothing depends on it (yet)."""
    own: bool = False
    """True: Kong has no such setting."""
    secret: bool = False
    section: str = ""


def rows(section: str, *table: tuple[object, ...]) -> list[Setting]:
    """Build settings from short rows: name, type, default, help, then flag words or `key=value` options."""
    made = []
    for name, kind, default, text, *rest in table:
        options: dict[str, object] = {}
        for option in rest:
            if isinstance(option, tuple):
                options["allowed"] = option
            elif isinstance(option, dict):
                options.update(option)
            elif option == "later":
                options["used"] = False
            else:
                options[str(option)] = True
        made.append(Setting(name, kind, default, text, section=section, **options))  # type: ignore[arg-type]
    return made
