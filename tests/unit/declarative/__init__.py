"""Declarative documents: reading, validating, writing."""
