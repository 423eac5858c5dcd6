"""pre-function: functions that run before other plugins. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Plugin
from kong_gevent.plugins.announced.blocks import FunctionsConfig


class PreFunctionConfig(FunctionsConfig):
    """Settings of pre-function."""


class PreFunction(Plugin):
    """The announced plugin."""

    name = "pre-function"
    priority = 1000000
    config = PreFunctionConfig
    forbidden_scopes = ("consumer",)
    protocols_allowed = "any"
