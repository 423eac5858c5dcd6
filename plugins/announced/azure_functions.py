"""azure-functions: functions of Azure as upstreams. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields


class AzureFunctionsConfig(Config):
    """Settings of azure-functions."""

    timeout = fields.Number(load_default=600000, metadata={"description": "Milliseconds to wait for the server."})
    keepalive = fields.Number(
        load_default=60000, metadata={"description": "Milliseconds for which an idle connection is kept."}
    )
    https = fields.Boolean(load_default=True, metadata={"description": "Whether to connect with TLS."})
    https_verify = fields.Boolean(
        load_default=False, metadata={"description": "Whether the server's certificate must verify."}
    )
    apikey = fields.String(referenceable=True, encrypted=True, metadata={"description": "Key of the function."})
    clientid = fields.String(referenceable=True, encrypted=True, metadata={"description": "Identifier of the key."})
    appname = fields.String(required=True, metadata={"description": "Name of the application."})
    hostdomain = fields.String(
        required=True, load_default="azurewebsites.net", metadata={"description": "Domain of the application."}
    )
    routeprefix = fields.String(load_default="api", metadata={"description": "Path before the function's name."})
    functionname = fields.String(required=True, metadata={"description": "Name of the function."})


class AzureFunctions(Plugin):
    """The announced plugin."""

    name = "azure-functions"
    priority = 749
    config = AzureFunctionsConfig
    protocols_allowed = "any"
