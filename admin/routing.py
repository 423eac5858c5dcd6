"""Path look-up by raw segments, since Kong decodes each segment on its own and werkzeug decodes the path as a whole.

Rules are ordinary Flask rules (`/services/<services>`), registered on blueprints. Only the matching differs from
werkzeug's: literal segments win over parameters at every position, one trailing slash is ignored, `%2F` stays inside
its segment, and the prefix `/default` (the one workspace) is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Blueprint
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, Rule

Handler = Callable[..., ResponseReturnValue]
WORKSPACE = "default"


def raw_path(environ: Mapping[str, Any]) -> str:
    """The path as it stood on the request line, still percent-encoded, without query.

    Servers pass it as `RAW_URI` or `REQUEST_URI`; without either, the decoded `PATH_INFO` has to do (then `%2F`
    inside a segment cannot be told from a separator).
    """
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not target or environ.get("SCRIPT_NAME"):
        path: str = environ.get("PATH_INFO", "")
        return path.replace("%", "%25") or "/"
    if not target.startswith("/"):  # absolute form: http://host/path
        _, _, rest = target.partition("://")
        slash = rest.find("/")
        target = rest[slash:] if slash >= 0 else "/"
    found: str = target.partition("?")[0].partition("#")[0]
    return found


def split(path: str) -> list[str]:
    """Decoded segments of a raw path: `/a/b%2Fc/` gives `["a", "b/c"]`, `/` gives `[]`.

    Raises `BadRequest` when a segment is no UTF-8 or holds NUL: no stored key could be that.
    """
    if path.startswith("/"):
        path = path[1:]
    if path.endswith("/"):
        path = path[:-1]
    if not path:
        return []
    parts = path.split("/")
    if "%" not in path and path.isascii():
        return parts
    try:
        decoded = [unquote_to_bytes(_octets(part)).decode() for part in parts]
    except UnicodeDecodeError:
        raise BadRequest("invalid utf-8 in the path") from None
    if any("\0" in part for part in decoded):
        raise BadRequest("invalid character in the path")
    return decoded


def _octets(part: str) -> bytes:
    """WSGI texts carry octets as latin-1; anything else was already decoded by the server."""
    try:
        return part.encode("latin-1")
    except UnicodeEncodeError:
        return part.encode()


class _Node:
    """One position in the tree: what may follow, and the rule that ends here."""

    __slots__ = ("literals", "names", "parameter", "rule")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.rule: Rule | None = None
        self.names: list[str] = []
        """Names of the rule's parameters, in order."""


class PathTree:
    """All rules of a Flask map, looked up segment by segment."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._root = _Node()
        for rule in rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        node = self._root
        names: list[str] = []
        for segment in filter(None, rule.rule.split("/")):
            if segment.startswith("<"):
                names.append(segment[1:-1])
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        if node.rule is not None:
            raise ValueError(f"two rules for one path: {node.rule.rule} and {rule.rule}")
        node.rule, node.names = rule, names

    def find(self, segments: list[str]) -> tuple[Rule, dict[str, str]] | None:
        """The rule for a path and the values of its parameters, or None."""
        if segments and segments[0] == WORKSPACE:
            segments = segments[1:]
        values: list[str] = []
        end = self._walk(self._root, segments, 0, values)
        if end is None or end.rule is None:
            return None
        return end.rule, dict(zip(end.names, values, strict=True))

    def _walk(self, node: _Node, segments: list[str], at: int, values: list[str]) -> _Node | None:
        if at == len(segments):
            return node if node.rule is not None else None
        segment = segments[at]
        literal = node.literals.get(segment)
        if literal is not None:
            end = self._walk(literal, segments, at + 1, values)
            if end is not None:
                return end
        if node.parameter is None or not segment:
            return None
        values.append(segment)
        end = self._walk(node.parameter, segments, at + 1, values)
        if end is None:
            values.pop()
        return end


class SegmentAdapter(MapAdapter):
    """Flask's view of the tree for one request."""

    def __init__(self, url_map: Map, tree: PathTree, environ: Mapping[str, Any]) -> None:
        super().__init__(url_map, "", "/", "", "http", "/", "GET")
        self._tree = tree
        self._environ = environ

    def match(self, *_args: Any, **_kwargs: Any) -> Any:
        """`(rule, parameters)`; raises `NotFound`, `BadRequest` (undecodable path) or `MethodNotAllowed`."""
        found = self._tree.find(split(raw_path(self._environ)))
        if found is None:
            raise NotFound
        methods = found[0].methods or set()
        if self._environ["REQUEST_METHOD"] not in methods:
            raise MethodNotAllowed(sorted(methods))
        return found


def add_path(
    blueprint: Blueprint, path: str, handlers: Mapping[str, Handler], told: Mapping[str, Any] | None = None
) -> None:
    """Register one path with a handler per method; without handlers HEAD follows GET, and the app answers OPTIONS.

    `path` uses Flask's notation. Handlers take the path's parameters as keywords and return what a view may return.
    `told`: method → `operations.Told`, for paths that are not in the table there.
    """
    table = dict(handlers)
    if "GET" in table:
        table.setdefault("HEAD", table["GET"])

    def view(**values: str) -> ResponseReturnValue:
        from flask import request

        return table[request.method](**values)

    view.told = told or {}  # type: ignore[attr-defined]
    endpoint = path.strip("/").replace("/", ":").replace(".", "_") or "root"
    blueprint.add_url_rule(path, endpoint, view, methods=[*table], provide_automatic_options=False)


def allowed_methods(methods: Iterable[str]) -> str:
    """The value of `Allow`: sorted, with OPTIONS, which every known path answers."""
    return ", ".join(sorted({*methods, "OPTIONS"}))


def listing(rules: Iterable[Rule]) -> list[str]:
    """Paths as `GET /endpoints` prints them: `{name}` for parameters, ordered segment by segment."""
    paths = {rule.rule.replace("<", "{").replace(">", "}") for rule in rules}
    return sorted(paths, key=lambda path: path.split("/"))
