"""Cassandra nodes on neighbouring loopback addresses, with the same ports on each: one node or many, one or more data
centres, with or without authentication and TLS. A cluster's folder describes it, so that another process can find it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from kong_gevent.devtools import certificates, cql, jars, java
from kong_gevent.devtools.certificates import Certificates
from kong_gevent.devtools.errors import ToolError
from kong_gevent.devtools.jars import Say
from kong_gevent.devtools.java import Frugality, Place
from kong_gevent.devtools.node import Node
from kong_gevent.devtools.settings import STORAGE_PORT, NodeSettings, write_settings

READY_SECONDS = 240.0
SUPERUSER = ("cassandra", "cassandra")
_SAY_SECONDS = 1.0
_TLS, _DESCRIPTION = "tls", "cluster.json"
_PEERS = "SELECT rpc_address, host_id, data_center, rack, release_version, tokens FROM system.peers"
_COPIES = 3
"""Of each row, where there are as many nodes: the fewest that survive the loss of one."""


@dataclass(frozen=True)
class Layout:
    """What a cluster looks like.

    first_address  of the first node; the others follow it
    data_centers   name and number of nodes
    tls            off, server (clients check the server's certificate) or mutual (the server checks theirs too)
    yaml           further lines of cassandra.yaml, for every node
    """

    first_address: str = "127.0.0.1"
    port: int = 9042
    data_centers: Mapping[str, int] = field(default_factory=lambda: {"dc1": 1})
    auth: bool = False
    tls: str = "off"
    yaml: Mapping[str, str] = field(default_factory=dict)
    frugality: Frugality = field(default_factory=Frugality)

    @property
    def addresses(self) -> list[str]:
        """Of all nodes, in order."""
        first = IPv4Address(self.first_address)
        return [str(first + number) for number in range(sum(self.data_centers.values()))]


class Cluster:
    """A cluster in a folder.

    with Cluster(folder, Layout(data_centers={"dc1": 3})) as cluster:   # started; stopped at the end
        cluster.execute("CREATE KEYSPACE …")
        cluster.nodes[2].kill()
    """

    def __init__(
        self, folder: Path, layout: Layout, lib: Path | None = None, started: Callable[[int], None] = lambda pid: None
    ) -> None:
        """Describe a cluster; nothing is started.

        `lib` is the folder of the jars (default: the cache of the user); `started` is told the process id of every
        daemon that is started.
        """
        self.folder = folder.resolve()
        self.layout = layout
        self.lib = (lib or jars.default_folder()).resolve()
        self.certificates = Certificates(self.folder / _TLS) if layout.tls != "off" else None
        self._started = started
        self.nodes = [self._node(number) for number in range(len(layout.addresses))]

    @classmethod
    def load(cls, folder: Path) -> Cluster | None:
        """The cluster that a folder describes; None when it describes none."""
        try:
            kept = json.loads((folder / _DESCRIPTION).read_text())
            layout = Layout(**{**kept["layout"], "frugality": Frugality(**kept["layout"]["frugality"])})
            return cls(folder, layout, Path(kept["lib"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # what clients need

    @property
    def addresses(self) -> list[str]:
        """Of all nodes."""
        return self.layout.addresses

    @property
    def port(self) -> int:
        """The port for clients, on every node."""
        return self.layout.port

    @property
    def data_centers(self) -> list[str]:
        """Names of the data centres, in the order of their nodes."""
        return list(self.layout.data_centers)

    def nodes_of(self, data_center: str) -> list[Node]:
        """The nodes of one data centre."""
        return [node for node, name in zip(self.nodes, self._centers(), strict=True) if name == data_center]

    def replication(self, factor: int = 1) -> str:
        """A keyspace's replication with this factor in each data centre (less where there are fewer nodes)."""
        parts = [f"'{name}': {min(factor, nodes)}" for name, nodes in self.layout.data_centers.items()]
        return "{'class': 'NetworkTopologyStrategy', " + ", ".join(parts) + "}"

    def settings(self, keyspace: str = "kong", data_center: str | None = None) -> dict[str, str]:
        """The settings (as environment variables) of a gateway in one data centre (default: the first one)."""
        center = data_center or self.data_centers[0]
        found = {
            "KONG_DATABASE": "cassandra",
            "KONG_CASSANDRA_CONTACT_POINTS": ",".join(node.address for node in self.nodes_of(center)),
            "KONG_CASSANDRA_PORT": str(self.port),
            "KONG_CASSANDRA_KEYSPACE": keyspace,
            "KONG_CASSANDRA_LOCAL_DATACENTER": center,
        }
        copies = {name: min(_COPIES, nodes) for name, nodes in self.layout.data_centers.items()}
        if len(copies) > 1:
            found["KONG_CASSANDRA_DATA_CENTERS"] = ",".join(f"{name}:{factor}" for name, factor in copies.items())
        else:
            found["KONG_CASSANDRA_REPL_FACTOR"] = str(copies[center])
        if self.layout.auth:
            found |= {"KONG_CASSANDRA_USERNAME": SUPERUSER[0], "KONG_CASSANDRA_PASSWORD": SUPERUSER[1]}
        if self.certificates:
            found |= _tls_settings(self.certificates, self.layout.tls == "mutual")
        return found

    def session(self, user: str | None = None, password: str = "", node: int = 0) -> cql.Session:
        """A connection to one node, as the superuser unless a user is named. Raises OSError and CqlError."""
        name, secret = SUPERUSER if user is None else (user, password)
        return cql.Session(self.addresses[node], self.port, user=name, password=secret, tls=self.certificates)

    def execute(self, *statements: str, node: int = 0, level: str = "LOCAL_QUORUM") -> list[cql.Row]:
        """Run statements as the superuser; returns the rows of the last one."""
        rows: list[cql.Row] = []
        with self.session(node=node) as session:
            for statement in statements:
                rows = session.run(statement, level)
        return rows

    # life

    def up(self, say: Say = lambda line: None, seconds: float = READY_SECONDS) -> None:
        """Start the nodes that do not run and wait until clients can work. Raises ToolError with the reason.

        Jars are fetched when they are missing. Nodes that this call started do not stay when it fails.
        """
        jars.fetch(self.lib, say)
        self._prepare()
        started = [node for node in self.nodes if not node.pid]
        for node in started:
            for port in (self.port, STORAGE_PORT):
                _require_free(node.address, port)
        try:
            for node in started:
                node.start()
            self._wait(say, seconds)
            if self.layout.auth:
                self._prepare_roles(say, seconds)
            self._wait_for_ring(say, seconds)
        except BaseException:
            for node in started:
                node.kill()
            raise

    def stop(self, seconds: float = 60) -> None:
        """Stop every node gracefully."""
        for node in self.nodes:
            node.stop(seconds)

    def kill(self) -> None:
        """End every node at once."""
        for node in self.nodes:
            node.kill()

    def remove(self) -> None:
        """End every node and delete its files, and the folder unless it holds anything else."""
        self.kill()
        for folder in (*(node.place.folder for node in self.nodes), self.folder / _TLS):
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / _DESCRIPTION).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    # inside

    def _centers(self) -> list[str]:
        return [name for name, count in self.layout.data_centers.items() for _ in range(count)]

    def _node(self, number: int) -> Node:
        address = self.layout.addresses[number]
        place = Place(self.folder / f"node{number + 1}")
        grace = 0 if len(self.layout.addresses) == 1 else 500
        return Node(
            place,
            address,
            lambda: java.command(place, self.lib, self.layout.frugality, grace),
            lambda: cql.answers(address, self.port, self.certificates),
            self._started,
        )

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.certificates:
            certificates.make(self.certificates.folder, self.addresses)
            if self.layout.tls == "mutual":
                certificates.make_trust_store(self.certificates)
        for number, (node, center) in enumerate(zip(self.nodes, self._centers(), strict=True)):
            node.place.make()
            write_settings(node.place, self._settings(number, center))
        layout = asdict(replace(self.layout, data_centers=dict(self.layout.data_centers), yaml=dict(self.layout.yaml)))
        (self.folder / _DESCRIPTION).write_text(json.dumps({"lib": str(self.lib), "layout": layout}))

    def _settings(self, number: int, center: str) -> NodeSettings:
        layout = self.layout
        before = self._centers().index(center)
        token = _token(number - before, layout.data_centers[center]) + list(layout.data_centers).index(center)
        return NodeSettings(
            address=layout.addresses[number],
            port=layout.port,
            seeds=layout.addresses,
            token=token,
            data_center=center,
            durable=layout.frugality.durable,
            auth=layout.auth,
            certificates=self.certificates,
            require_client_tls=layout.tls == "mutual",
            more=layout.yaml,
        )

    def _wait(self, say: Say, seconds: float) -> None:
        start = time.monotonic()
        missing: Sequence[Node] = self.nodes
        told = -_SAY_SECONDS
        while missing := [node for node in missing if not node.ready()]:
            passed = time.monotonic() - start
            if passed > seconds:
                raise ToolError(
                    f"not ready after {seconds:g} s: Cassandra on {missing[0].address}: {missing[0].tail()}"
                )
            if passed - told >= _SAY_SECONDS:
                told = passed
                say(f"Starting Cassandra on {', '.join(node.address for node in missing)}: {passed:.0f} s")
            time.sleep(0.1)

    def _prepare_roles(self, say: Say, seconds: float) -> None:
        """Let roles live on as many nodes as can be lost, and wait until the superuser can log in."""
        end = time.monotonic() + seconds
        user, password = SUPERUSER
        statements = [f"ALTER ROLE {user} WITH PASSWORD = '{password}'"]
        if len(self.nodes) > 1:
            statements.insert(0, f"ALTER KEYSPACE system_auth WITH replication = {self.replication(3)}")
        while True:
            try:
                self.execute(*statements)
                return
            except (OSError, cql.CqlError) as error:
                if time.monotonic() > end:
                    raise ToolError(f"nobody can log in after {seconds:g} s: {error}") from None
                say("Waiting for Cassandra's roles")
                time.sleep(0.5)

    def _wait_for_ring(self, say: Say, seconds: float) -> None:
        """Wait until every node knows all others: what one does not know yet, its clients do not know either."""
        end = time.monotonic() + seconds
        for number, node in enumerate(self.nodes):
            while self._known_to(number) < len(self.nodes):
                if time.monotonic() > end:
                    raise ToolError(f"Cassandra on {node.address} does not see all nodes after {seconds:g} s")
                say(f"Waiting until Cassandra on {node.address} sees the other nodes")
                time.sleep(0.1)

    def _known_to(self, number: int) -> int:
        """How many nodes a node can tell its clients about."""
        return 1 + sum(None not in peer for peer in self.execute(_PEERS, node=number, level="ONE"))


def _tls_settings(certificates: Certificates, mutual: bool) -> dict[str, str]:
    found = {
        "KONG_CASSANDRA_SSL": "on",
        "KONG_CASSANDRA_SSL_VERIFY": "on",
        "KONG_CASSANDRA_SSL_CA": str(certificates.ca),
    }
    if mutual:
        found |= {
            "KONG_CASSANDRA_SSL_CERT": str(certificates.client),
            "KONG_CASSANDRA_SSL_CERT_KEY": str(certificates.client_key),
        }
    return found


def _require_free(address: str, port: int) -> None:
    """Raises ToolError when a node could not listen there."""
    with socket.socket() as probe:
        # As the servers do: connections of one that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ToolError(f"Cassandra cannot listen on {address}:{port}: {error.strerror}") from None


def _token(number: int, count: int) -> int:
    """Evenly spread positions on the ring."""
    return -(2**63) + 1 + (2**64 // count) * number
