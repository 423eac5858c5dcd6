"""Datastores behind one contract (`base.Strategy`)."""
