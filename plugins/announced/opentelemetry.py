"""opentelemetry: spans and logs over OTLP. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields, queue_record
from kong_gevent.plugins.announced.blocks import propagation_record


class OpentelemetryConfig(Config):
    """Settings of opentelemetry."""

    traces_endpoint = fields.Url(referenceable=True, metadata={"description": "Where spans are sent."})
    logs_endpoint = fields.Url(referenceable=True, metadata={"description": "Where log lines are sent."})
    headers = fields.Map(
        fields.HeaderName(), fields.String(referenceable=True), metadata={"description": "Headers of what is sent."}
    )
    resource_attributes = fields.Map(
        fields.String(), fields.String(), metadata={"description": "Further attributes of the node."}
    )
    queue = queue_record(max_batch_size=200)
    batch_span_count = fields.Integer(
        deprecation={
            "message": "batch_span_count is deprecated: use queue.max_batch_size",
            "removal_in_version": "4.0",
            "old_default": 200,
        },
        metadata={"description": "Deprecated: use queue.max_batch_size."},
    )
    batch_flush_delay = fields.Integer(
        deprecation={
            "message": "batch_flush_delay is deprecated: use queue.max_coalescing_delay",
            "removal_in_version": "4.0",
            "old_default": 3,
        },
        metadata={"description": "Deprecated: use queue.max_coalescing_delay."},
    )
    connect_timeout = fields.Timeout(load_default=1000, metadata={"description": "Milliseconds to connect."})
    send_timeout = fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two writes."})
    read_timeout = fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two reads."})
    http_response_header_for_traceid = fields.String(
        metadata={"description": "Header of answers with the trace's identifier."}
    )
    header_type = fields.Choice(
        "preserve",
        "ignore",
        "b3",
        "b3-single",
        "w3c",
        "jaeger",
        "ot",
        "aws",
        "gcp",
        "datadog",
        load_default="preserve",
        deprecation={
            "message": "header_type is deprecated: use propagation",
            "removal_in_version": "4.0",
            "old_default": "preserve",
        },
        metadata={"description": "Deprecated: use propagation."},
    )
    sampling_rate = fields.Number(between=[0, 1], metadata={"description": "Share of the traces that are kept."})
    propagation = propagation_record("w3c")
    shorthand_fields = {"endpoint": fields.Deprecated(fields.Url(referenceable=True), "traces_endpoint")}
    config_checks = (checks.AtLeastOneOf("traces_endpoint", "logs_endpoint"),)


class Opentelemetry(Plugin):
    """The announced plugin."""

    name = "opentelemetry"
    priority = 14
    config = OpentelemetryConfig
