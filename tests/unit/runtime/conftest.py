"""The test kit's fixture, also where the package is not installed."""

from kong_gevent.pdk.testing import plugin

__all__ = ["plugin"]
