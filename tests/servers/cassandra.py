"""Cassandra for the tests: a cluster whose keyspaces and roles are quickly made."""

from itertools import count
from os import getpid

from kong_gevent.devtools.cluster import Cluster

_NUMBERS = count(1)


class Cassandra(Cluster):
    """A cluster with what tests want of it."""

    def fresh_name(self) -> str:
        """A name that no keyspace of this session has."""
        return f"kong_{getpid()}_{next(_NUMBERS)}"

    def create_keyspace(self, name: str | None = None, factor: int = 1) -> str:
        """Make a keyspace with this many replicas in each data centre; returns its name."""
        name = name or self.fresh_name()
        self.execute(f"CREATE KEYSPACE {name} WITH replication = {self.replication(factor)}")
        return name

    def drop_keyspace(self, name: str) -> None:
        """Remove a keyspace, if it exists."""
        self.execute(f"DROP KEYSPACE IF EXISTS {name}")

    def create_role(self, name: str, password: str, keyspace: str) -> None:
        """A role that may do everything within one keyspace, but cannot create any (as with managed clusters)."""
        self.execute(
            f"CREATE ROLE {name} WITH PASSWORD = '{password}' AND LOGIN = true",
            f"GRANT ALL PERMISSIONS ON KEYSPACE {keyspace} TO {name}",
        )
