"""aws-lambda: functions of AWS as upstreams. Only its settings are known so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.pdk import Config, Plugin, checks, fields


def proxy_error(values: Mapping[str, Any]) -> dict[str, str] | None:
    """The proxy is asked in clear."""
    proxy: str = values["config"]["proxy_url"]
    return None if proxy.startswith("http://") else {"config.proxy_url": "proxy_url scheme must be http"}


def _switch(description: str, load_default: bool = False) -> fields.Boolean:
    return fields.Boolean(load_default=load_default, metadata={"description": description})


class AwsLambdaConfig(Config):
    """Settings of aws-lambda."""

    timeout = fields.Number(
        required=True, load_default=60000, metadata={"description": "Milliseconds to wait for the server."}
    )
    keepalive = fields.Number(
        required=True,
        load_default=60000,
        metadata={"description": "Milliseconds for which an idle connection is kept."},
    )
    aws_key = fields.String(referenceable=True, encrypted=True, metadata={"description": "Access key of AWS."})
    aws_secret = fields.String(
        referenceable=True, encrypted=True, metadata={"description": "Secret of the access key."}
    )
    aws_assume_role_arn = fields.String(
        referenceable=True, encrypted=True, metadata={"description": "Role to take on."}
    )
    aws_role_session_name = fields.String(load_default="kong", metadata={"description": "Name of the role's session."})
    aws_sts_endpoint_url = fields.Url(metadata={"description": "Address of the token service."})
    aws_region = fields.Host(metadata={"description": "Region of AWS."})
    function_name = fields.String(metadata={"description": "Name or ARN of the function."})
    qualifier = fields.String(metadata={"description": "Version or alias of the function."})
    invocation_type = fields.Choice(
        "RequestResponse",
        "Event",
        "DryRun",
        required=True,
        load_default="RequestResponse",
        metadata={"description": "Whether to wait for the function's answer."},
    )
    log_type = fields.Choice(
        "Tail",
        "None",
        required=True,
        load_default="Tail",
        metadata={"description": "Whether the end of the function's log comes back."},
    )
    host = fields.Host(metadata={"description": "Host to use."})
    port = fields.Port(load_default=443, metadata={"description": "Port to use."})
    disable_https = _switch("Whether to connect in clear.")
    unhandled_status = fields.Integer(
        between=[100, 999], metadata={"description": "Status for a function that failed."}
    )
    forward_request_method = _switch("Whether the function learns the method.")
    forward_request_uri = _switch("Whether the function learns the address.")
    forward_request_headers = _switch("Whether the function learns the headers.")
    forward_request_body = _switch("Whether the function learns the body.")
    is_proxy_integration = _switch("Whether the function's answer sets status and headers.")
    awsgateway_compatible = _switch("Whether requests look as those of the Amazon API Gateway.")
    proxy_url = fields.Url(metadata={"description": "Proxy to go through."})
    skip_large_bodies = _switch("Whether bodies that do not fit in memory are left out.", load_default=True)
    base64_encode_body = _switch("Whether bodies are sent in base64.", load_default=True)
    aws_imds_protocol_version = fields.Choice(
        "v1",
        "v2",
        required=True,
        load_default="v1",
        metadata={"description": "Version of the metadata service that is asked for credentials."},
    )
    empty_arrays_mode = fields.Choice(
        "legacy",
        "correct",
        required=True,
        load_default="legacy",
        metadata={"description": "Whether empty arrays in answers stay arrays."},
    )
    checks = (
        checks.MutuallyRequired("config.aws_key", "config.aws_secret"),
        checks.Custom("config.proxy_url", function=proxy_error),
    )


class AwsLambda(Plugin):
    """The announced plugin."""

    name = "aws-lambda"
    priority = 750
    config = AwsLambdaConfig
