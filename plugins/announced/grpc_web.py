"""grpc-web: gRPC services for browsers. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields


class GrpcWebConfig(Config):
    """Settings of grpc-web."""

    proto = fields.String(metadata={"description": "File that describes the gRPC service."})
    pass_stripped_path = fields.Boolean(metadata={"description": "Whether the route's part of the path is removed."})
    allow_origin_header = fields.String(
        load_default="*", metadata={"description": "Value of Access-Control-Allow-Origin."}
    )


class GrpcWeb(Plugin):
    """The announced plugin."""

    name = "grpc-web"
    priority = 3
    config = GrpcWebConfig
    protocols_allowed = "any"
