"""datadog: metrics for a Datadog agent. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields, legacy_queue_fields, queue_record


class DatadogConfig(Config):
    """Settings of datadog."""

    host = fields.Host(load_default="localhost", referenceable=True, metadata={"description": "Host to use."})
    port = fields.Port(load_default=8125, metadata={"description": "Port to use."})
    prefix = fields.String(load_default="kong", metadata={"description": "What names begin with."})
    service_name_tag = fields.String(load_default="name", metadata={"description": "Tag with the service's name."})
    status_tag = fields.String(load_default="status", metadata={"description": "Tag with the status."})
    consumer_tag = fields.String(load_default="consumer", metadata={"description": "Tag with the consumer."})
    retry_count = legacy_queue_fields()["retry_count"]
    queue_size = legacy_queue_fields()["queue_size"]
    flush_timeout = legacy_queue_fields()["flush_timeout"]
    queue = queue_record()
    metrics = fields.Array(
        fields.Record(
            {
                "name": fields.Choice(
                    "kong_latency",
                    "latency",
                    "request_count",
                    "request_size",
                    "response_size",
                    "upstream_latency",
                    required=True,
                    metadata={"description": "Name of it."},
                ),
                "stat_type": fields.Choice(
                    "counter",
                    "gauge",
                    "histogram",
                    "meter",
                    "set",
                    "timer",
                    "distribution",
                    required=True,
                    metadata={"description": "Type of the metric."},
                ),
                "tags": fields.Array(fields.String(match="^.*[^:]$"), metadata={"description": "Further tags."}),
                "sample_rate": fields.Number(
                    between=[0, 1], metadata={"description": "Share of the values that are sent."}
                ),
                "consumer_identifier": fields.Choice(
                    "consumer_id", "custom_id", "username", metadata={"description": "What stands for the consumer."}
                ),
            },
            checks=[
                checks.Conditional("stat_type", {"one_of": ["counter", "gauge"]}, "sample_rate", {"required": True})
            ],
        ),
        required=True,
        load_default=[
            {
                "consumer_identifier": "custom_id",
                "stat_type": "counter",
                "sample_rate": 1,
                "name": "request_count",
                "tags": ["app:kong"],
            },
            {"consumer_identifier": "custom_id", "tags": ["app:kong"], "name": "latency", "stat_type": "timer"},
            {"consumer_identifier": "custom_id", "tags": ["app:kong"], "name": "request_size", "stat_type": "timer"},
            {"consumer_identifier": "custom_id", "tags": ["app:kong"], "name": "response_size", "stat_type": "timer"},
            {
                "consumer_identifier": "custom_id",
                "tags": ["app:kong"],
                "name": "upstream_latency",
                "stat_type": "timer",
            },
            {"consumer_identifier": "custom_id", "tags": ["app:kong"], "name": "kong_latency", "stat_type": "timer"},
        ],
        metadata={"description": "What is sent."},
    )


class Datadog(Plugin):
    """The announced plugin."""

    name = "datadog"
    priority = 10
    config = DatadogConfig
    protocols_allowed = "any"
