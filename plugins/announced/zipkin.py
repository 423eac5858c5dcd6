"""zipkin: spans for a Zipkin server. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields, queue_record
from kong_gevent.plugins.announced.tracing import old_format, propagation_record, timeouts, trace_id_header

FORMATS = ("b3", "b3-single", "w3c", "jaeger", "ot", "aws", "datadog", "gcp")


class ZipkinConfig(Config):
    """Settings of zipkin."""

    local_service_name = fields.String(
        required=True, load_default="kong", metadata={"description": "Name of the gateway in spans."}
    )
    http_endpoint = fields.Url(metadata={"description": "Where spans are sent."})
    sample_ratio = fields.Number(
        load_default=0.001, between=[0, 1], metadata={"description": "Share of the traces that are kept."}
    )
    default_service_name = fields.String(metadata={"description": "Name for requests without a service."})
    include_credential = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether spans name the credential."}
    )
    traceid_byte_count = fields.Integer(
        one_of=[8, 16],
        required=True,
        load_default=16,
        metadata={"description": "Length of new trace identifiers in bytes."},
    )
    header_type = old_format("header_type", "preserve", "ignore", *FORMATS, default="preserve", required=True)
    default_header_type = old_format("default_header_type", *FORMATS, default="b3", required=True)
    tags_header = fields.String(
        required=True, load_default="Zipkin-Tags", metadata={"description": "Header with which clients add tags."}
    )
    static_tags = fields.Array(
        fields.Record(
            {
                "name": fields.String(
                    required=True,
                    not_one_of=[
                        "error",
                        "http.method",
                        "http.path",
                        "http.status_code",
                        "kong.balancer.state",
                        "kong.balancer.try",
                        "kong.consumer",
                        "kong.credential",
                        "kong.node.id",
                        "kong.route",
                        "kong.service",
                        "lc",
                        "peer.hostname",
                    ],
                    metadata={"description": "Name of it."},
                ),
                "value": fields.String(required=True, metadata={"description": "Value of it."}),
            }
        ),
        metadata={"description": "Tags of every span."},
    )
    http_span_name = fields.Choice(
        "method",
        "method_path",
        required=True,
        load_default="method",
        metadata={"description": "What spans are named after."},
    )
    connect_timeout, send_timeout, read_timeout = timeouts(2000)
    http_response_header_for_traceid = trace_id_header()
    phase_duration_flavor = fields.Choice(
        "annotations",
        "tags",
        required=True,
        load_default="annotations",
        metadata={"description": "Whether phases are annotations or tags."},
    )
    queue = queue_record()
    propagation = propagation_record("b3")


class Zipkin(Plugin):
    """The announced plugin."""

    name = "zipkin"
    priority = 100000
    config = ZipkinConfig
    protocols_allowed = "any"
