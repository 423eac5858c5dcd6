"""ai-response-transformer: answers rewritten by a language model. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Plugin, fields
from kong_gevent.plugins.announced.blocks import Instruction, ModelCall


class ResponseInstruction(Instruction):
    """What the model is told, and whether its answer is taken for a description of the client's."""

    parse_llm_response_json_instructions = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the model may set status, headers and body with a JSON answer."},
    )


class AiResponseTransformerConfig(ModelCall, ResponseInstruction):
    """Settings of ai-response-transformer: the fields of the last base come first."""


class AiResponseTransformer(Plugin):
    """The announced plugin."""

    name = "ai-response-transformer"
    priority = 768
    config = AiResponseTransformerConfig
