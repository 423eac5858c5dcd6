"""Tests through the front door: real gateway processes, real upstreams, real sockets."""
