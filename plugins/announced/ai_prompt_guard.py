"""ai-prompt-guard: prompts checked against patterns. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields
from kong_gevent.plugins.announced.blocks import llm_format, request_body_limit


class AiPromptGuardConfig(Config):
    """Settings of ai-prompt-guard."""

    allow_patterns = fields.Array(
        fields.String(len_min=1, len_max=500),
        len_max=10,
        metadata={"description": "Regular expressions of which one has to match."},
    )
    deny_patterns = fields.Array(
        fields.String(len_min=1, len_max=500),
        len_max=10,
        metadata={"description": "Regular expressions of which none may match."},
    )
    allow_all_conversation_history = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether only the last message of the user is looked at."},
    )
    max_request_body_size = request_body_limit()
    match_all_roles = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether messages of all roles are looked at."}
    )
    llm_format = llm_format()
    checks = (
        checks.AtLeastOneOf("config.allow_patterns", "config.deny_patterns"),
        checks.Conditional(
            "config.match_all_roles", {"eq": True}, "config.allow_all_conversation_history", {"eq": False}
        ),
    )


class AiPromptGuard(Plugin):
    """The announced plugin."""

    name = "ai-prompt-guard"
    priority = 771
    config = AiPromptGuardConfig
