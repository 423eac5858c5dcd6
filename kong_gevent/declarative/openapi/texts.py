"""Names, paths and places of OpenAPI documents."""

from __future__ import annotations

import re
import unicodedata

from kong_gevent.errors import GatewayError

Place = tuple[str | int, ...]
_PARAMETER = re.compile(r"\{([^{}]*)\}")
_SPECIAL = re.compile(r"[.^$*+?()\[\]{}|\\]")


class InvalidOpenApi(GatewayError):
    """A document that cannot be converted; the message begins with the place."""

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(f"{place_text(place)}: {problem}")


def place_text(place: Place) -> str:
    """A place as a JSON pointer (RFC 6901)."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def slug(text: str) -> str:
    """A text as a part of a name: lower case, ASCII letters and digits, single hyphens between."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "root"


def route_path(path: str, place: Place) -> tuple[str, int]:
    """The regular expression of a path template for a route, and how many parameters it has.

    A parameter is one segment, or a part of one, and not empty; its group has its name as far as expressions allow it.
    Raises `InvalidOpenApi`.
    """
    parts, last, names = [], 0, []
    for match in _PARAMETER.finditer(path):
        name = re.sub(r"[^A-Za-z0-9_]", "_", match[1]) or "parameter"
        name = f"_{name}" if name[0].isdigit() else name
        if name in names:
            raise InvalidOpenApi(place, f"the path has two parameters '{name}'")
        names.append(name)
        parts += [_literal(path[last : match.start()]), f"(?<{name}>[^#?/]+)"]
        last = match.end()
    rest = path[last:]
    if set("{}") & set(rest + "".join(parts[::2])):
        raise InvalidOpenApi(place, "the path's braces do not fit together")
    return "~" + "".join(parts) + _literal(rest) + "$", len(names)


def _literal(text: str) -> str:
    return _SPECIAL.sub(lambda match: match[0] if match[0] in "{}" else "\\" + match[0], text)
