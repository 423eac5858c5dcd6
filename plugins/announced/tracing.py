"""What the announced plugins for traces have in common."""

from __future__ import annotations

from kong_gevent.pdk import fields


def timeouts(connect: int) -> tuple[fields.Integer, fields.Integer, fields.Integer]:
    """`connect_timeout`, `send_timeout` and `read_timeout`."""
    return (
        fields.Timeout(load_default=connect, metadata={"description": "Milliseconds to connect."}),
        fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two writes."}),
        fields.Timeout(load_default=5000, metadata={"description": "Milliseconds between two reads."}),
    )


def trace_id_header() -> fields.String:
    """`http_response_header_for_traceid`."""
    return fields.String(metadata={"description": "Header of answers with the trace's identifier."})


def old_format(name: str, *formats: str, default: str, required: bool = False) -> fields.String:
    """A setting from the time before there was `propagation`."""
    return fields.Choice(
        *formats,
        required=required,
        load_default=default,
        deprecation={
            "message": f"{name} is deprecated: use propagation",
            "removal_in_version": "4.0",
            "old_default": default,
        },
        metadata={"description": "Deprecated: use propagation."},
    )


def propagation_record(default_format: str) -> fields.Record:
    """How a trace goes from the client through the gateway to the upstream."""
    return fields.Record(
        {
            "extract": fields.Array(
                fields.Choice("ot", "gcp", "aws", "w3c", "b3", "datadog", "jaeger"),
                metadata={"description": "Formats that are read, in this order."},
            ),
            "clear": fields.Array(fields.HeaderName(), metadata={"description": "Headers that are removed."}),
            "inject": fields.Array(
                fields.Choice("preserve", "ot", "gcp", "aws", "b3-single", "w3c", "b3", "datadog", "jaeger"),
                metadata={"description": "Formats that are written."},
            ),
            "default_format": fields.Choice(
                "ot",
                "gcp",
                "aws",
                "b3-single",
                "w3c",
                "b3",
                "datadog",
                "jaeger",
                required=True,
                metadata={"description": "Format where none came in."},
            ),
        },
        load_default={"default_format": default_format},
        metadata={"description": "How traces are passed on."},
    )
