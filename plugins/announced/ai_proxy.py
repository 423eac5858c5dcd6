"""ai-proxy: requests for language models. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Plugin, checks, fields
from kong_gevent.plugins.announced.blocks import LlmConfig, llm_format, request_body_limit


class AiProxyConfig(LlmConfig):
    """Settings of ai-proxy."""

    response_streaming = fields.Choice(
        "allow", "deny", "always", load_default="allow", metadata={"description": "Whether answers may come in pieces."}
    )
    max_request_body_size = request_body_limit()
    model_name_header = fields.Boolean(
        load_default=True, metadata={"description": "Whether answers name the model in a header."}
    )
    llm_format = llm_format()
    checks = (
        checks.Conditional(
            "config.llm_format",
            {"one_of": ["bedrock", "gemini"]},
            "config.route_type",
            {"eq": "llm/v1/chat"},
            "native provider options in llm_format can only be used with the 'llm/v1/chat' route_type",
        ),
        checks.Conditional(
            "config.llm_format",
            {"eq": "bedrock"},
            "config.model.provider",
            {"eq": "bedrock"},
            "native llm_format 'bedrock' can only be used with the 'bedrock' model.provider",
        ),
        checks.Conditional(
            "config.llm_format",
            {"eq": "gemini"},
            "config.model.provider",
            {"eq": "gemini"},
            "native llm_format 'gemini' can only be used with the 'gemini' model.provider",
        ),
    )


class AiProxy(Plugin):
    """The announced plugin."""

    name = "ai-proxy"
    priority = 770
    config = AiProxyConfig
