"""ai-response-transformer: answers rewritten by a language model. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields
from kong_gevent.plugins.announced.blocks import LlmConfig


class AiResponseTransformerConfig(Config):
    """Settings of ai-response-transformer."""

    prompt = fields.String(required=True, metadata={"description": "What the model is told to do."})
    transformation_extract_pattern = fields.String(
        metadata={"description": "Regular expression for the part of the answer that counts."}
    )
    parse_llm_response_json_instructions = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the model may set status, headers and body with a JSON answer."},
    )
    http_timeout = fields.Integer(
        required=True, load_default=60000, metadata={"description": "Milliseconds to wait for the model."}
    )
    https_verify = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether the server's certificate must verify."}
    )
    max_request_body_size = fields.Integer(
        load_default=8192, gt=0, metadata={"description": "Bytes of a request's body that are looked at."}
    )
    http_proxy_host = fields.Host(metadata={"description": "Proxy for clear connections."})
    http_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    https_proxy_host = fields.Host(metadata={"description": "Proxy for TLS connections."})
    https_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    llm = fields.Record(LlmConfig, metadata={"description": "The model and how to reach it."})
    checks = (
        checks.Conditional(
            "config.llm.route_type",
            {"not_one_of": ["llm/v1/chat"]},
            "config.llm.route_type",
            {"eq": "llm/v1/chat"},
            "'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins",
        ),
        checks.MutuallyRequired("config.http_proxy_host", "config.http_proxy_port"),
        checks.MutuallyRequired("config.https_proxy_host", "config.https_proxy_port"),
    )


class AiResponseTransformer(Plugin):
    """The announced plugin."""

    name = "ai-response-transformer"
    priority = 768
    config = AiResponseTransformerConfig
