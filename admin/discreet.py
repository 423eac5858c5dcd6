"""What a request was for, without the secrets in its path and query: for the audit log and the access log."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kong_gevent.admin import routing
from kong_gevent.admin.request import AdminRequest
from kong_gevent.db import Entity
from kong_gevent.db.tokens import PREFIX
from kong_gevent.schema.masking import MASK, hides
from kong_gevent.schema.rules import is_uuid

_CACHE_KEY = "key"
"""The parameter of `/cache/{key}`: such keys hold keys of credentials."""
_NAMED = re.compile(r"([?&][^=&]*(?:token|password|secret|api[-_]?key)[^=&]*=)[^&]+", re.IGNORECASE)
_TOKEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{8,}")


class Discreet:
    """Masks what a path or a query should not have been told.

    In paths that is the key by which an entity is found when it is a secret (`/key-auths/{key}`); ids stay. In queries
    it is the value of whatever is named like a secret: this API takes tokens in headers alone, but clients try.
    """

    def __init__(self, catalogue: Mapping[str, Entity]) -> None:
        keyed = [kind for kind in catalogue.values() if kind.endpoint_key]
        self._hidden = {_CACHE_KEY, *(kind.name for kind in keyed if hides(kind.schema, str(kind.endpoint_key)))}

    def path(self, request: AdminRequest) -> str:
        """The path."""
        raw = routing.raw_path(request.environ)
        values, rule = request.view_args or {}, request.url_rule
        hidden = {name for name in self._hidden.intersection(values) if not is_uuid(values[name])}
        if rule is not None and hidden:
            segments = raw.rstrip("/").split("/")
            names = rule.rule.split("/")
            before = len(segments) - len(names)  # the workspace
            for at, name in enumerate(names):
                if name[1:-1] in hidden:
                    segments[before + at] = MASK
            raw = "/".join(segments)
        return _TOKEN.sub(MASK, raw)

    def target(self, request: AdminRequest) -> str:
        """Path and query."""
        query = request.environ.get("QUERY_STRING", "")
        return self.path(request) + (_NAMED.sub(rf"\1{MASK}", _TOKEN.sub(MASK, f"?{query}")) if query else "")
