"""Plugins whose settings are validated and published, and whose code is yet to come."""
