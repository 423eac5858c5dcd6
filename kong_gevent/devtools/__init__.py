"""A real Cassandra on this machine for developers and tests: jars from Maven Central, nodes on loopback addresses."""
