"""zipkin: spans for a Zipkin server. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields, queue_record
from kong_gevent.plugins.announced.blocks import propagation_record


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
    header_type = fields.Choice(
        "preserve",
        "ignore",
        "b3",
        "b3-single",
        "w3c",
        "jaeger",
        "ot",
        "aws",
        "datadog",
        "gcp",
        required=True,
        load_default="preserve",
        deprecation={
            "message": "header_type is deprecated: use propagation",
            "removal_in_version": "4.0",
            "old_default": "preserve",
        },
        metadata={"description": "Deprecated: use propagation."},
    )
    default_header_type = fields.Choice(
        "b3",
        "b3-single",
        "w3c",
        "jaeger",
        "ot",
        "aws",
        "datadog",
        "gcp",
        required=True,
        load_default="b3",
        deprecation={
            "message": "default_header_type is deprecated: use propagation",
            "removal_in_version": "4.0",
            "old_default": "b3",
        },
        metadata={"description": "Deprecated: use propagation."},
    )
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
    connect_timeout = fields.Timeout(load_default=2000, metadata={"description": "Milliseconds to connect."})
    send_timeout = fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two writes."})
    read_timeout = fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two reads."})
    http_response_header_for_traceid = fields.String(
        metadata={"description": "Header of answers with the trace's identifier."}
    )
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
