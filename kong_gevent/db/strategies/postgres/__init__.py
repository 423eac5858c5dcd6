"""The strategy for PostgreSQL; `strategy` says how it works."""
