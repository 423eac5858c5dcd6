"""Tests of kong_gevent.vaults."""
