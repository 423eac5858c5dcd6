"""pre-function: functions that run before other plugins. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields


class PreFunctionConfig(Config):
    """Settings of pre-function."""

    certificate = fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": "Functions that run when a TLS connection begins."},
    )
    rewrite = fields.Array(
        fields.String(), required=True, load_default=[], metadata={"description": "Functions that run before routing."}
    )
    access = fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": "Functions that run before the upstream is called."},
    )
    header_filter = fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": "Functions that run on the head of the answer."},
    )
    body_filter = fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": "Functions that run on each piece of the answer."},
    )
    log = fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": "Functions that run when everything is sent."},
    )
    checks = (
        checks.AtLeastOneOf(
            "config.certificate",
            "config.rewrite",
            "config.access",
            "config.header_filter",
            "config.body_filter",
            "config.log",
        ),
    )


class PreFunction(Plugin):
    """The announced plugin."""

    name = "pre-function"
    priority = 1000000
    config = PreFunctionConfig
    forbidden_scopes = ("consumer",)
    protocols_allowed = "any"
