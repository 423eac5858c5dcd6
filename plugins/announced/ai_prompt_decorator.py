"""ai-prompt-decorator: messages added to prompts. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields
from kong_gevent.plugins.announced.blocks import llm_format, message_array, request_body_limit


class AiPromptDecoratorConfig(Config):
    """Settings of ai-prompt-decorator."""

    prompts = fields.Record(
        {
            "prepend": message_array("before"),
            "append": message_array("behind"),
        },
        required=False,
        metadata={"description": "Messages that are added."},
    )
    max_request_body_size = request_body_limit()
    llm_format = llm_format()
    checks = (checks.AtLeastOneOf("config.prompts.prepend", "config.prompts.append"),)


class AiPromptDecorator(Plugin):
    """The announced plugin."""

    name = "ai-prompt-decorator"
    priority = 772
    config = AiPromptDecoratorConfig
