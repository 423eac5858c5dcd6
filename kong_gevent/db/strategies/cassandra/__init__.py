"""Apache Cassandra as a datastore of many nodes: connections, sessions, statements, faults in one line.

Import its modules only where the database is Cassandra, and in a gevent worker only after it has been patched: the
driver binds the primitives of `threading` when it is imported.
"""
