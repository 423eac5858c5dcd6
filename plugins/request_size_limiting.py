"""request-size-limiting: no request body above a size."""

from __future__ import annotations

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields

UNITS = {"megabytes": 1 << 20, "kilobytes": 1 << 10, "bytes": 1}
TOO_LARGE = "Request size limit exceeded"
NO_LENGTH = "A valid Content-Length header is required"
DEFAULT_SIZE = 128


class RequestSizeLimitingConfig(Config):
    """Settings of request-size-limiting."""

    allowed_payload_size = fields.Integer(
        load_default=DEFAULT_SIZE, metadata={"description": "Greatest body that may come in, in `size_unit`."}
    )
    size_unit = fields.Choice(
        "megabytes",
        "kilobytes",
        "bytes",
        required=True,
        load_default="megabytes",
        metadata={"description": "Unit of the size: 2^20, 2^10 or 1 bytes."},
    )
    require_content_length = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether requests that neither announce a length nor are chunked are refused."},
    )


class RequestSizeLimiting(Plugin):
    """Compares the announced length; counts bodies whose length was not announced while they stream."""

    name = "request-size-limiting"
    priority = 951
    config = RequestSizeLimitingConfig

    def configure(self, conf: Conf) -> None:
        """Work out the limit in bytes."""
        size = conf.allowed_payload_size
        conf.limit = (DEFAULT_SIZE if size is None else size) * UNITS[conf.size_unit]

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Refuse before anything is read where that is possible."""
        request = ctx.request
        length = request.content_length
        if length is not None:
            return None if length <= conf.limit else ctx.error(too_large(ctx), TOO_LARGE)
        if request.is_chunked:
            request.limit_body(conf.limit, too_large(ctx), TOO_LARGE)
        elif conf.require_content_length:
            return ctx.error(411, NO_LENGTH)
        return None


def too_large(ctx: Context) -> int:
    """417 for clients that ask before they send (`Expect: 100-continue`), else 413."""
    return 417 if ctx.request.header("expect") else 413
