"""The Flask application: which paths there are, what every request goes through, and what errors look like."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from flask import Blueprint, Flask, Request, Response, request
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import MapAdapter, Rule

from kong_gevent import KONG_VERSION, errors
from kong_gevent.admin import (
    audit,
    bodies,
    classic,
    config,
    debug,
    explain,
    forms,
    generate,
    info,
    openapi,
    operations,
    routing,
    schemas,
    status,
    tags,
    tokens,
    trace,
    unavailable,
)
from kong_gevent.admin.access import Access
from kong_gevent.admin.audit import Recorder
from kong_gevent.admin.discreet import Discreet
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.origins import origins
from kong_gevent.admin.render import answer, empty, message
from kong_gevent.admin.request import AdminRequest, flag
from kong_gevent.db.dryrun import trying

UNEXPECTED = "An unexpected error occurred"
_DOCUMENT_PATHS = frozenset({"/config"})
"""Paths that take YAML as well, and whose bodies only their views read: they may have very many values."""
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DRY_BLUEPRINTS = ("entity:", "classic", "config", "schemas", "tags", "unavailable")
"""Whose writes can be tried: those that go to the store alone."""
_LOG = logging.getLogger("kong_gevent.admin")


class _NoSessions(SessionInterface):
    """The API is stateless; Flask's sessions cost time on each request."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return NullSession()

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Nothing to keep."""


class AdminApp(Flask):
    """A Flask app with Kong's transport rules. Paths come from blueprints; see `routing.add_path`.

    Answers carry Server, X-Kong-Admin-Latency (both as the `headers` setting says) and the CORS fields.
    """

    request_class = AdminRequest
    session_interface = _NoSessions()

    def __init__(self, node: NodeFacade, name: str = "kong_gevent.admin", *, guarded: bool = True) -> None:
        super().__init__(name, static_folder=None, root_path="/", instance_path="/")
        self.node = node
        settings = node.settings
        self.body_limit: int = settings.admin_client_max_body_size
        self.enabled_headers: frozenset[str] = settings.enabled_headers
        self.gui_origins = origins(settings.get("admin_gui_url") or [])
        self.access = Access(node) if guarded else None
        self.discreet = Discreet(node.store.catalogue)
        self.recorder = Recorder(node, self.discreet)
        self._tree: routing.PathTree | None = None
        self.before_request(self._admit)
        self.after_request(self._complete)
        self.register_error_handler(Exception, failure)

    # -- routing

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Look paths up segment by segment; see `routing`."""
        if request is None:
            return None
        if self._tree is None:
            self._tree = routing.PathTree(self.url_map.iter_rules())
        return routing.SegmentAdapter(self.url_map, self._tree, request.environ)

    def paths(self) -> list[str]:
        """All paths in the order of `GET /endpoints`, but for what is there for robots only."""
        return routing.listing(rule for rule in self.url_map.iter_rules() if rule.rule != info.ROBOTS)

    def told(self, rule: Rule) -> Mapping[str, operations.Told]:
        """What those who brought a path say of it: method → what it takes and answers."""
        found: Mapping[str, operations.Told] = getattr(self.view_functions[rule.endpoint], "told", {})
        return found

    # -- every request

    def _admit(self) -> Response | None:
        """Who asks; then the order that Kong's clients see: path, OPTIONS, content type, method, body."""
        current: AdminRequest = request._get_current_object()  # type: ignore[attr-defined]
        if self.access is not None:
            current.who, stopped = self.access.check(current.environ, current.path)
            if stopped is not None:
                return stopped
            self.recorder.begin(current.method)
        refused = current.routing_exception
        if refused is not None and not isinstance(refused, MethodNotAllowed):
            raise refused
        if refused is not None and current.method == "OPTIONS":  # which no rule lists among its methods
            return _options(current, refused.valid_methods or ())
        bodies.check_length(current, self.body_limit)
        if current.environ.get("QUERY_STRING", "").count("&") >= forms.MAX_ARGUMENTS:
            raise errors.HttpError(400, forms.TOO_MANY)
        if current.method in bodies.WITH_BODY:
            current.kind = bodies.kind_of(current)
            if current.kind == "unsupported" or (current.kind == "yaml" and not _takes_documents(current)):
                return empty(415)
        if refused is not None:
            raise refused
        if current.method in bodies.WITH_BODY:
            self._read(current)
        return None

    def dispatch_request(self, *args: Any) -> Any:
        """Call the view; what a dry run would write is only tried."""
        if not _is_dry(request):
            return super().dispatch_request(*args)
        if request.blueprint is None or not request.blueprint.startswith(_DRY_BLUEPRINTS):
            return message(400, "dry_run is not possible here")
        request.environ["kong_gevent.dry_run"] = True
        with trying(self.node.store):
            return super().dispatch_request(*args)

    def _read(self, current: AdminRequest) -> None:
        raw = bodies.read(current, self.body_limit)
        if current.kind in ("none", "yaml") or (current.kind == "json" and _takes_documents(current)):
            current.text = raw
        else:
            current.sent = bodies.decode(current.kind, raw, current.environ["CONTENT_TYPE"])

    def _complete(self, response: Response) -> Response:
        """Header fields of every answer."""
        headers = response.headers
        if "server" in self.enabled_headers:
            headers["Server"] = f"kong/{KONG_VERSION}"
        if "x-kong-admin-latency" in self.enabled_headers:
            started = request.started  # type: ignore[attr-defined]
            headers["X-Kong-Admin-Latency"] = str(int((time.monotonic() - started) * 1000))
        if request.environ.get("kong_gevent.dry_run"):
            headers["X-Kong-Dry-Run"] = "true"
        self._open_to_pages(headers, request.environ.get("HTTP_ORIGIN"))
        current: AdminRequest = request._get_current_object()  # type: ignore[attr-defined]
        current.environ["kong_gevent.logged_target"] = self.discreet.target(current)
        self.recorder.end(current, response.status_code)
        return response

    def _open_to_pages(self, headers: Headers, origin: str | None) -> None:
        """What pages of which origin may do (CORS)."""
        headers["Access-Control-Allow-Origin"] = self._allowed_origin(origin, origin or "*")
        headers["Access-Control-Allow-Credentials"] = "true"

    def _allowed_origin(self, origin: str | None, otherwise: str) -> str:
        """The origin to tell; `otherwise`: where the web manager's are not set."""
        if not self.gui_origins:
            return otherwise
        return origin if origin in self.gui_origins else self.gui_origins[0]


class ClassicApp(AdminApp):
    """The classic Admin API on a listener of its own."""

    def _open_to_pages(self, headers: Headers, origin: str | None) -> None:
        """Pages of all origins may read it, without the browser's credentials (Kong 0.5), unless some are named."""
        headers["Access-Control-Allow-Origin"] = self._allowed_origin(origin, "*")


def _is_dry(current: Request) -> bool:
    """Whether a write is only to be tried (`?dry_run=1`)."""
    if current.method not in _WRITING or "dry_run" not in current.environ.get("QUERY_STRING", ""):
        return False
    arguments = cast(AdminRequest, current).query_arguments()
    return "dry_run" in arguments and (arguments["dry_run"] is None or flag(arguments["dry_run"]))


def _takes_documents(current: AdminRequest) -> bool:
    rule = current.url_rule
    return rule is not None and rule.rule in _DOCUMENT_PATHS


def _options(current: AdminRequest, methods: Iterable[str]) -> Response:
    made = empty(204)
    allowed = routing.allowed_methods(methods)
    made.headers["Allow"] = allowed
    made.headers["Access-Control-Allow-Methods"] = allowed
    wanted = current.environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
    made.headers["Access-Control-Allow-Headers"] = wanted or "Content-Type"
    return made


def failure(error: Exception) -> Response:
    """The answer for anything that a view raised. What nobody foresaw is logged and hidden behind a plain 500."""
    if isinstance(error, HTTPException):
        return _http_failure(error)
    if isinstance(error, errors.HttpError):
        return empty(415) if error.status == 415 else message(error.status, error.message)
    if isinstance(error, errors.DaoError) and error.status < 500:
        return answer(error.to_dict(), error.status)
    if isinstance(error, errors.StoreUnavailable):
        _LOG.error("%s %s: %s", request.method, request.path, error.message)
        return message(503, error.message or "The datastore cannot be used now")
    if isinstance(error, errors.Overloaded):
        return message(503, "The gateway is busy, try again later")
    _LOG.error("%s %s failed", request.method, request.path, exc_info=error)
    return message(500, UNEXPECTED)


def _http_failure(error: HTTPException) -> Response:
    texts: Mapping[int, str] = {404: "Not found", 405: "Method not allowed", 413: "Payload too large"}
    status = error.code or 500
    return message(status, texts.get(status) or (error.description or "") if status < 500 else UNEXPECTED)


def create_app(node: NodeFacade, extra: Iterable[Blueprint] = ()) -> AdminApp:
    """The Admin API of a node, generated from its store's catalogue. `extra`: endpoints that plugins bring."""
    app = AdminApp(node)
    app.register_blueprint(info.blueprint(node, app.paths))
    app.register_blueprint(status.blueprint(node))
    app.register_blueprint(schemas.blueprint(node))
    app.register_blueprint(debug.blueprint(node))
    app.register_blueprint(explain.blueprint(node))
    app.register_blueprint(trace.blueprint(node))
    app.register_blueprint(unavailable.blueprint(node))
    app.register_blueprint(tags.blueprint(node))
    app.register_blueprint(config.blueprint(node))
    for made in generate.blueprints(node):
        app.register_blueprint(made)
    app.register_blueprint(classic.blueprint(node, failure), url_prefix=classic.PREFIX)
    app.register_blueprint(tokens.blueprint(node))
    app.register_blueprint(audit.blueprint(node))
    app.register_blueprint(openapi.blueprint(node, app.url_map.iter_rules, app.told))
    for made in extra:
        app.register_blueprint(made)
    return app


def create_status_app(node: NodeFacade, extra: Iterable[Blueprint] = ()) -> AdminApp:
    """The status listener: `/status`, `/status/ready`, `/status/dns` and what plugins add (`extra`)."""
    app = AdminApp(node, "kong_gevent.admin.status", guarded=False)
    app.register_blueprint(status.blueprint(node))
    app.register_blueprint(status.readiness(node))
    for made in extra:
        app.register_blueprint(made)
    return app


def create_classic_app(node: NodeFacade) -> AdminApp:
    """The classic Admin API on a listener of its own."""
    app = ClassicApp(node, "kong_gevent.admin.classic")
    app.register_blueprint(classic.blueprint(node, failure))
    return app
