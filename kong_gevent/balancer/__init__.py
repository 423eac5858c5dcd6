"""Choosing one of several addresses for a request: pure logic, without I/O."""
