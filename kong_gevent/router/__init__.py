"""Which route serves a request: an index over all routes that costs about the same for one route and for 100,000."""

from kong_gevent.router.subroutes import Match
from kong_gevent.router.traditional_compatible import Router

__all__ = ["Match", "Router"]
