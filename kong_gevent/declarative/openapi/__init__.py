"""Documents that describe an API (OpenAPI 3.0 and 3.1) as declarative configurations: services, routes, plugins."""

from kong_gevent.declarative.openapi.convert import InvalidOpenApi, convert

__all__ = ["InvalidOpenApi", "convert"]
