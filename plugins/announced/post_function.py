"""post-function: functions that run after other plugins. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Plugin
from kong_gevent.plugins.announced.blocks import FunctionsConfig


class PostFunctionConfig(FunctionsConfig):
    """Settings of post-function."""


class PostFunction(Plugin):
    """The announced plugin."""

    name = "post-function"
    priority = -1000
    config = PostFunctionConfig
    forbidden_scopes = ("consumer",)
    protocols_allowed = "any"
