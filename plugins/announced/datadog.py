"""datadog: metrics for a Datadog agent. Only its settings are known so far."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Config, Plugin, fields, legacy_queue_fields, queue_record
from kong_gevent.plugins.announced.statistics import TYPES, consumer_identifier, metric, server

NAMES = ("kong_latency", "latency", "request_count", "request_size", "response_size", "upstream_latency")
TIMED = ("latency", "request_size", "response_size", "upstream_latency", "kong_latency")


def _default(kind: str, name: str, **further: Any) -> dict[str, Any]:
    """A metric that is sent unless others are asked for."""
    return {"consumer_identifier": "custom_id", "tags": ["app:kong"], "stat_type": kind, "name": name, **further}


class DatadogConfig(Config):
    """Settings of datadog."""

    host, port, prefix = server(referenceable=True)
    service_name_tag = fields.String(load_default="name", metadata={"description": "Tag with the service's name."})
    status_tag = fields.String(load_default="status", metadata={"description": "Tag with the status."})
    consumer_tag = fields.String(load_default="consumer", metadata={"description": "Tag with the consumer."})
    retry_count, queue_size, flush_timeout = legacy_queue_fields().values()
    queue = queue_record()
    metrics = fields.Array(
        metric(
            NAMES,
            (*TYPES, "distribution"),
            {
                "tags": fields.Array(fields.String(match="^.*[^:]$"), metadata={"description": "Further tags."}),
                "sample_rate": fields.Number(
                    between=[0, 1], metadata={"description": "Share of the values that are sent."}
                ),
                "consumer_identifier": consumer_identifier(),
            },
        ),
        required=True,
        load_default=[
            _default("counter", "request_count", sample_rate=1),
            *(_default("timer", name) for name in TIMED),
        ],
        metadata={"description": "What is sent."},
    )


class Datadog(Plugin):
    """The announced plugin."""

    name = "datadog"
    priority = 10
    config = DatadogConfig
    protocols_allowed = "any"
