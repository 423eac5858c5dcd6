"""statsd: metrics for a StatsD server. Only its settings are known so far."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Config, Plugin, fields, legacy_queue_fields, queue_record
from kong_gevent.plugins.announced.statistics import TYPES, consumer_identifier, metric, server

NAMES = (
    "kong_latency",
    "latency",
    "request_count",
    "request_per_user",
    "request_size",
    "response_size",
    "status_count",
    "status_count_per_user",
    "unique_users",
    "upstream_latency",
    "status_count_per_workspace",
    "status_count_per_user_per_route",
    "shdict_usage",
)


def _service(description: str, **rules: Any) -> fields.String:
    return fields.Choice(
        "service_id",
        "service_name",
        "service_host",
        "service_name_or_host",
        metadata={"description": description},
        **rules,
    )


def _workspace(description: str, **rules: Any) -> fields.String:
    return fields.Choice("workspace_id", "workspace_name", metadata={"description": description}, **rules)


class StatsdConfig(Config):
    """Settings of statsd."""

    host, port, prefix = server()
    metrics = fields.Array(
        metric(
            NAMES,
            TYPES,
            {
                "sample_rate": fields.Number(gt=0, metadata={"description": "Share of the values that are sent."}),
                "consumer_identifier": consumer_identifier(),
                "service_identifier": _service("What stands for the service."),
                "workspace_identifier": _workspace("What stands for the workspace."),
            },
        ),
        load_default=[
            {"stat_type": "counter", "sample_rate": 1, "name": "request_count"},
            {"stat_type": "timer", "name": "latency"},
            {"stat_type": "counter", "sample_rate": 1, "name": "request_size"},
            {"sample_rate": 1, "name": "status_count", "stat_type": "counter"},
            {"stat_type": "counter", "sample_rate": 1, "name": "response_size"},
            {"name": "unique_users", "stat_type": "set"},
            {"stat_type": "counter", "sample_rate": 1, "name": "request_per_user"},
            {"stat_type": "timer", "name": "upstream_latency"},
            {"stat_type": "timer", "name": "kong_latency"},
            {"stat_type": "counter", "sample_rate": 1, "name": "status_count_per_user"},
            {"sample_rate": 1, "name": "status_count_per_workspace", "stat_type": "counter"},
            {"stat_type": "counter", "sample_rate": 1, "name": "status_count_per_user_per_route"},
            {"sample_rate": 1, "name": "shdict_usage", "stat_type": "gauge"},
        ],
        metadata={"description": "What is sent."},
    )
    allow_status_codes = fields.Array(
        fields.String(match="^[0-9]+-[0-9]+$"), metadata={"description": "Ranges of statuses that count."}
    )
    udp_packet_size = fields.Number(
        load_default=0,
        between=[0, 65507],
        metadata={"description": "Bytes of one datagram; 0 sends each line by itself."},
    )
    use_tcp = fields.Boolean(load_default=False, metadata={"description": "Whether to send over TCP."})
    hostname_in_prefix = fields.Boolean(
        load_default=False, metadata={"description": "Whether names contain the node's."}
    )
    consumer_identifier_default = consumer_identifier(
        "What stands for the consumer where a metric does not say.", required=True, load_default="custom_id"
    )
    service_identifier_default = _service(
        "What stands for the service where a metric does not say.", required=True, load_default="service_name_or_host"
    )
    workspace_identifier_default = _workspace(
        "What stands for the workspace where a metric does not say.", required=True, load_default="workspace_id"
    )
    retry_count, queue_size, flush_timeout = legacy_queue_fields().values()
    tag_style = fields.Choice(
        "dogstatsd", "influxdb", "librato", "signalfx", metadata={"description": "How tags are written."}
    )
    queue = queue_record()


class Statsd(Plugin):
    """The announced plugin."""

    name = "statsd"
    priority = 11
    config = StatsdConfig
    protocols_allowed = "any"
