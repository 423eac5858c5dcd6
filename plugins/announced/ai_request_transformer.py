"""ai-request-transformer: requests rewritten by a language model. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Plugin
from kong_gevent.plugins.announced.blocks import Instruction, ModelCall


class AiRequestTransformerConfig(ModelCall, Instruction):
    """Settings of ai-request-transformer: the fields of the last base come first."""


class AiRequestTransformer(Plugin):
    """The announced plugin."""

    name = "ai-request-transformer"
    priority = 777
    config = AiRequestTransformerConfig
    forbidden_scopes = ("consumer",)
