"""grpc-gateway: gRPC services for JSON clients. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, fields


class GrpcGatewayConfig(Config):
    """Settings of grpc-gateway."""

    proto = fields.String(metadata={"description": "File that describes the gRPC service."})


class GrpcGateway(Plugin):
    """The announced plugin."""

    name = "grpc-gateway"
    priority = 998
    config = GrpcGatewayConfig
    protocols_allowed = "any"
