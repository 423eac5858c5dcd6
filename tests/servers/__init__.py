"""Real servers for the tests: Cassandra, PostgreSQL, Redis, HAProxy; `fixtures` has what tests ask for."""
