"""request-termination: an answer of our own instead of the upstream's."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields

MESSAGES = {
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    500: "An unexpected error occurred",
    502: "Bad Gateway",
    503: "Service unavailable",
}


class RequestTerminationConfig(Config):
    """Settings of request-termination."""

    status_code = fields.Integer(
        required=True, load_default=503, between=[100, 599], metadata={"description": "Status of the answer."}
    )
    message = fields.String(metadata={"description": "Text of the usual JSON body; not together with `body`."})
    content_type = fields.String(metadata={"description": "Media type of `body`, e.g. `application/json`."})
    body = fields.String(metadata={"description": "The whole body, sent as it is."})
    echo = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the answer tells what was received, for finding mistakes."},
    )
    trigger = fields.HeaderName(
        metadata={"description": "Act only on requests with a header or query argument of this name."}
    )

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> str | None:
        """Which fields exclude or need each other."""
        content_type, body = config["content_type"], config["body"]
        if config["message"] and (content_type or body):
            return "message cannot be used with content_type or body"
        if content_type and not body:
            return "content_type requires a body"
        if config["echo"] and (content_type or body):
            return "echo cannot be used with content_type and body"
        return None


class RequestTermination(Plugin):
    """Answers every request it is asked about."""

    name = "request-termination"
    priority = 2
    config = RequestTerminationConfig

    def configure(self, conf: Conf) -> None:
        """Prepare the answer."""
        message = conf.message or MESSAGES.get(conf.status_code)
        conf.answer = conf.body or ({"message": message} if message else None)
        conf.headers = {"Content-Type": conf.content_type} if conf.content_type else None

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Answer, unless a trigger is set and absent."""
        trigger = conf.trigger
        if trigger and ctx.request.header(trigger) is None and ctx.request.query_arg(trigger) is None:
            return None
        if conf.echo:
            return ctx.exit(conf.status_code, self._echo(ctx, conf))
        return ctx.exit(conf.status_code, conf.answer, conf.headers)

    def _echo(self, ctx: Context, conf: Conf) -> dict[str, Any]:
        request = ctx.request
        return {
            "message": conf.message or MESSAGES.get(conf.status_code),
            "kong": {
                "node_id": self.kit.node_id,
                "worker_pid": self.kit.worker_pid,
                "hostname": self.kit.hostname,
            },
            "request": {
                "scheme": request.scheme,
                "host": request.host,
                "port": request.port,
                "headers": request.headers(),
                "query": request.query_args(),
                "body": request.body(),
                "raw_body": request.raw_body().decode("utf-8", "replace"),
                "method": request.method,
                "path": request.path,
                "uri_captures": request.captures,
            },
            "matched_route": ctx.matched_route,
            "matched_service": ctx.matched_service,
        }
