"""Bytes that nobody thought of: readers and the whole gateway against mutated and generated messages."""
