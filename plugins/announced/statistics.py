"""What the announced plugins for StatsD servers have in common."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import checks, fields

TYPES = ("counter", "gauge", "histogram", "meter", "set", "timer")


def server(referenceable: bool = False) -> tuple[fields.String, fields.Integer, fields.String]:
    """`host`, `port` and `prefix`."""
    known: dict[str, Any] = {"referenceable": True} if referenceable else {}
    return (
        fields.Host(load_default="localhost", metadata={"description": "Host to use."}, **known),
        fields.Port(load_default=8125, metadata={"description": "Port to use."}),
        fields.String(load_default="kong", metadata={"description": "What names begin with."}),
    )


def consumer_identifier(description: str = "What stands for the consumer.", **rules: Any) -> fields.String:
    """What tells consumers apart."""
    return fields.Choice("consumer_id", "custom_id", "username", metadata={"description": description}, **rules)


def metric(names: tuple[str, ...], types: tuple[str, ...], further: dict[str, fields.Field]) -> fields.Record:
    """One metric: its name and type, and what else there is to say."""
    return fields.Record(
        {
            "name": fields.Choice(*names, required=True, metadata={"description": "Name of it."}),
            "stat_type": fields.Choice(*types, required=True, metadata={"description": "Type of the metric."}),
            **further,
        },
        checks=[checks.Conditional("stat_type", {"one_of": ["counter", "gauge"]}, "sample_rate", {"required": True})],
    )
