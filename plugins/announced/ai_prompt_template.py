"""ai-prompt-template: prompts made from templates. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields
from kong_gevent.plugins.announced.blocks import request_body_limit


class AiPromptTemplateConfig(Config):
    """Settings of ai-prompt-template."""

    templates = fields.Array(
        fields.Record(
            {
                "name": fields.String(required=True, metadata={"description": "Name of it."}),
                "template": fields.String(
                    required=True, metadata={"description": "Text with places for variables in double braces."}
                ),
            }
        ),
        required=True,
        metadata={"description": "Templates that clients can name."},
    )
    allow_untemplated_requests = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether requests that name no template pass."}
    )
    log_original_request = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether the request is logged as it came."}
    )
    max_request_body_size = request_body_limit()


class AiPromptTemplate(Plugin):
    """The announced plugin."""

    name = "ai-prompt-template"
    priority = 773
    config = AiPromptTemplateConfig
