"""Cassandra for the tests: a cluster, the gateway's settings for it, and keyspaces."""

from itertools import count
from os import getpid

from kong_gevent.devtools.cluster import SUPERUSER, Cluster

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

    def settings(self, keyspace: str, data_center: str | None = None) -> dict[str, str]:
        """The gateway's settings for a keyspace, seen from one data centre (the first one)."""
        center = data_center or self.data_centers[0]
        found = {
            "KONG_DATABASE": "cassandra",
            "KONG_CASSANDRA_CONTACT_POINTS": ",".join(node.address for node in self.nodes_of(center)),
            "KONG_CASSANDRA_PORT": str(self.port),
            "KONG_CASSANDRA_KEYSPACE": keyspace,
            "KONG_CASSANDRA_LOCAL_DATACENTER": center,
        }
        if self.layout.auth:
            found |= {"KONG_CASSANDRA_USERNAME": SUPERUSER[0], "KONG_CASSANDRA_PASSWORD": SUPERUSER[1]}
        if self.certificates:
            found |= {
                "KONG_CASSANDRA_SSL": "on",
                "KONG_CASSANDRA_SSL_VERIFY": "on",
                "KONG_CASSANDRA_SSL_CA": str(self.certificates.ca),
            }
        if self.certificates and self.layout.tls == "mutual":
            found |= {
                "KONG_CASSANDRA_SSL_CERT": str(self.certificates.client),
                "KONG_CASSANDRA_SSL_CERT_KEY": str(self.certificates.client_key),
            }
        return found
