"""cors: which web pages may read answers from here."""

from __future__ import annotations

import re
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Exit, HeaderTemplate, Plugin, fields
from kong_gevent.pdk.patterns import compile_regex, regex_error

METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT")
MAX_DECISIONS = 1000
"""Origins whose headers a configuration keeps ready per worker."""
MAX_ORIGIN = 256
"""Longer origins are decided anew each time."""
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ALLOW_CREDENTIALS = "Access-Control-Allow-Credentials"
_PLAIN = re.compile(r"[A-Za-z0-9.:/-]+")
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//(?:[^/?#@]*@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d*))?")
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}


def _origin_error(value: str) -> str | None:
    return None if value == "*" or regex_error(value) is None else f"'{value}' is not a valid regex"


class CorsConfig(Config):
    """Settings of cors."""

    origins = fields.Array(
        fields.String(custom_validator=_origin_error),
        metadata={"description": "Origins that are allowed: texts, regular expressions, or `*`. All when unset."},
    )
    headers = fields.Array(
        fields.String(),
        metadata={"description": "Request headers that pages may use; unset: those that the preflight asks for."},
    )
    exposed_headers = fields.Array(
        fields.String(), metadata={"description": "Answer headers that pages may read beyond the usual ones."}
    )
    methods = fields.Array(
        fields.Choice(*METHODS),
        load_default=list(METHODS),
        metadata={"description": "Methods that pages may use."},
    )
    max_age = fields.Number(metadata={"description": "Seconds for which a browser may remember a preflight."})
    credentials = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether pages may send cookies and credentials."}
    )
    private_network = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether preflights for private network access are granted."},
    )
    preflight_continue = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether the upstream answers preflights."}
    )


class Origin:
    """An origin taken apart: the text with default ports dropped, and its host alone."""

    __slots__ = ("host", "text")

    def __init__(self, text: str) -> None:
        match = _URL.match(text)
        if match is None or not match.group(2):
            self.text = self.host = text
            return
        scheme, self.host, port = match.groups()
        prefix = f"{scheme}://" if scheme else ""
        suffix = f":{port}" if port and (scheme, port) not in _DEFAULT_PORTS else ""
        self.text = f"{prefix}{self.host}{suffix}"


class Origins:
    """The configured origins, ready to be asked: `decide` gives the value of `Access-Control-Allow-Origin`."""

    def __init__(self, entries: list[str]) -> None:
        self.allow_all = not entries or entries == ["*"]
        self.fixed = entries[0] if len(entries) == 1 and _PLAIN.fullmatch(entries[0]) else None
        self._wildcard = "*" in entries
        self._texts = {Origin(entry).text for entry in entries if _PLAIN.fullmatch(entry)}
        expressions = [entry for entry in entries if entry != "*" and not _PLAIN.fullmatch(entry)]
        self._by_host = [compile_regex(entry) for entry in expressions if ":" not in entry]
        self._by_text = [compile_regex(entry) for entry in expressions if ":" in entry]

    def decide(self, origin: str | None) -> str | None:
        """`*`, an origin, or None when the page may not read the answer."""
        if self.allow_all:
            return "*"
        if self.fixed is not None:
            return self.fixed
        if origin is None:
            return None
        if self._wildcard:
            return "*"
        asked = Origin(origin)
        if asked.text in self._texts:
            return asked.text
        if any(expression.fullmatch(asked.host) for expression in self._by_host):
            return asked.text
        return asked.text if any(expression.fullmatch(asked.text) for expression in self._by_text) else None


class Cors(Plugin):
    """Answers preflight requests and marks answers that pages may read."""

    name = "cors"
    priority = 2000
    config = CorsConfig
    forbidden_scopes = ("consumer",)

    def configure(self, conf: Conf) -> None:
        """Compile the origins and prepare what does not depend on the request."""
        conf.allowed = Origins(conf.origins or [])
        conf.exposed = ",".join(conf.exposed_headers or ())
        conf.allow_headers = ",".join(conf.headers or ())
        conf.allow_methods = ",".join(METHODS if conf.methods is None else conf.methods)
        conf.decisions = {}
        same_for_all = (conf.allowed.allow_all and not conf.credentials) or conf.allowed.fixed is not None
        conf.always = self._template(conf, None) if same_for_all else None

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Answer a preflight request."""
        if ctx.method != b"OPTIONS":
            return None
        request = ctx.request
        origin = request.header("origin")
        if origin is None or request.header("access-control-request-method") is None:
            return None
        ctx.own(self).preflight = True
        if conf.preflight_continue:
            return None
        headers: dict[str, Any] = dict(self._lines(conf, origin)[0])
        if self._varies(conf, origin):
            headers["Vary"] = "Origin"
        asked = conf.allow_headers or request.header("access-control-request-headers")
        if asked:
            headers["Access-Control-Allow-Headers"] = asked
        headers["Access-Control-Allow-Methods"] = conf.allow_methods
        if conf.max_age is not None:
            headers["Access-Control-Max-Age"] = conf.max_age
        if conf.private_network and request.header("access-control-request-private-network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return ctx.exit(200, None, headers)

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Mark the answer, whoever made it; preflights have all they need."""
        if ctx.method == b"OPTIONS" and getattr(ctx.own(self), "preflight", False):
            return
        template = conf.always
        if template is None:
            sent = ctx.field("origin")
            origin = sent[0] if isinstance(sent, list) else sent
            template = conf.decisions.get(origin)
            if template is None:
                template = self._decide(conf, origin)
        ctx.set_response(template)

    def _decide(self, conf: Conf, origin: str | None) -> HeaderTemplate:
        template = self._template(conf, origin)
        if origin is None or len(origin) <= MAX_ORIGIN:
            if len(conf.decisions) >= MAX_DECISIONS:
                conf.decisions.clear()
            conf.decisions[origin] = template
        return template

    def _template(self, conf: Conf, origin: str | None) -> HeaderTemplate:
        lines, cleared = self._lines(conf, origin)
        if conf.exposed:
            lines.append(("Access-Control-Expose-Headers", conf.exposed))
        return HeaderTemplate(
            [(name, HeaderTemplate.constant(value.encode("latin-1", "replace"))) for name, value in lines],
            added=[("Vary", "Origin")] if self._varies(conf, origin) else (),
            cleared=cleared,
        )

    @staticmethod
    def _varies(conf: Conf, origin: str | None) -> bool:
        return not conf.allowed.allow_all or (conf.credentials and origin is not None)

    @staticmethod
    def _lines(conf: Conf, origin: str | None) -> tuple[list[tuple[str, str]], list[str]]:
        """The fields about the origin: those to set and those to remove."""
        allowed = conf.allowed.decide(origin)
        if conf.credentials and allowed == "*" and origin is not None:
            return [(ALLOW_ORIGIN, origin), (ALLOW_CREDENTIALS, "true")], []
        lines = [(ALLOW_CREDENTIALS, "true")] if conf.credentials and allowed != "*" else []
        if allowed is None:
            return lines, [ALLOW_ORIGIN]
        return [(ALLOW_ORIGIN, allowed), *lines], []
