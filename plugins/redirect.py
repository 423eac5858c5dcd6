"""redirect: sends clients to another place."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields

BODY = "redirecting"
_PATH = "/%:@!$&'()*+,;=-._~[]|\\^"
_QUERY = _PATH + "?`{}"
_ANY = _QUERY + '#"<>'


class RedirectConfig(Config):
    """Settings of redirect."""

    status_code = fields.Integer(
        required=True,
        load_default=301,
        between=[100, 599],
        metadata={"description": "Status of the answer."},
    )
    location = fields.Url(required=True, metadata={"description": "The URL to go to."})
    keep_incoming_path = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether path and query of `location` are replaced by those of the request."},
    )


class Redirect(Plugin):
    """Answers every request it is asked about with a `Location`."""

    name = "redirect"
    priority = 779
    config = RedirectConfig

    def configure(self, conf: Conf) -> None:
        """Prepare the location, and its ends when the middle is the request's."""
        conf.fixed = {"Location": quote(conf.location, safe=_ANY)}
        parts = urlsplit(conf.location)
        conf.origin = f"{quote(parts.scheme)}://{quote(parts.netloc, safe=_ANY)}"
        conf.fragment = f"#{quote(parts.fragment, safe=_ANY)}" if parts.fragment else ""

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Answer."""
        if not conf.keep_incoming_path:
            return ctx.exit(conf.status_code, BODY, conf.fixed)
        request = ctx.request
        path = quote(request.path.encode("latin-1"), safe=_PATH)
        query = request.raw_query
        if query:
            path += "?" + quote(query.encode("latin-1"), safe=_QUERY)
        return ctx.exit(conf.status_code, BODY, {"Location": f"{conf.origin}{path}{conf.fragment}"})
