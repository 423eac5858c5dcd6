"""ai-prompt-decorator: messages added to prompts. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields


class AiPromptDecoratorConfig(Config):
    """Settings of ai-prompt-decorator."""

    prompts = fields.Record(
        {
            "prepend": fields.Array(
                fields.Record(
                    {
                        "role": fields.Choice(
                            "system",
                            "assistant",
                            "user",
                            required=True,
                            load_default="system",
                            metadata={"description": "Who says it."},
                        ),
                        "content": fields.String(
                            required=True, len_min=1, len_max=500, metadata={"description": "What is said."}
                        ),
                    }
                ),
                len_max=15,
                metadata={"description": "Messages put before the client's."},
            ),
            "append": fields.Array(
                fields.Record(
                    {
                        "role": fields.Choice(
                            "system",
                            "assistant",
                            "user",
                            required=True,
                            load_default="system",
                            metadata={"description": "Who says it."},
                        ),
                        "content": fields.String(
                            required=True, len_min=1, len_max=500, metadata={"description": "What is said."}
                        ),
                    }
                ),
                len_max=15,
                metadata={"description": "Messages put behind the client's."},
            ),
        },
        required=False,
        metadata={"description": "Messages that are added."},
    )
    max_request_body_size = fields.Integer(
        load_default=8192, gt=0, metadata={"description": "Bytes of a request's body that are looked at."}
    )
    llm_format = fields.Choice(
        "openai",
        "bedrock",
        "gemini",
        load_default="openai",
        metadata={"description": "Format of the client's messages."},
    )
    checks = (checks.AtLeastOneOf("config.prompts.prepend", "config.prompts.append"),)


class AiPromptDecorator(Plugin):
    """The announced plugin."""

    name = "ai-prompt-decorator"
    priority = 772
    config = AiPromptDecoratorConfig
