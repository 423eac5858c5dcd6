"""opentelemetry: spans and logs over OTLP. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, checks, fields, queue_record
from kong_gevent.plugins.announced.tracing import old_format, propagation_record, timeouts, trace_id_header

FORMATS = ("b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp", "datadog")


def _old(name: str, current: str, default: int) -> fields.Integer:
    """A setting from the time before there was `queue`."""
    return fields.Integer(
        deprecation={
            "message": f"{name} is deprecated: use queue.{current}",
            "removal_in_version": "4.0",
            "old_default": default,
        },
        metadata={"description": f"Deprecated: use queue.{current}."},
    )


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
    batch_span_count = _old("batch_span_count", "max_batch_size", 200)
    batch_flush_delay = _old("batch_flush_delay", "max_coalescing_delay", 3)
    connect_timeout, send_timeout, read_timeout = timeouts(1000)
    http_response_header_for_traceid = trace_id_header()
    header_type = old_format("header_type", "preserve", "ignore", *FORMATS, default="preserve")
    sampling_rate = fields.Number(between=[0, 1], metadata={"description": "Share of the traces that are kept."})
    propagation = propagation_record("w3c")
    shorthand_fields = {"endpoint": fields.Deprecated(fields.Url(referenceable=True), "traces_endpoint")}
    config_checks = (checks.AtLeastOneOf("traces_endpoint", "logs_endpoint"),)


class Opentelemetry(Plugin):
    """The announced plugin."""

    name = "opentelemetry"
    priority = 14
    config = OpentelemetryConfig
