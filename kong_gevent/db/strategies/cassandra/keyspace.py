"""The keyspace: creating it where that is allowed and makes sense, and judging the replication of one that exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cassandra import Unauthorized
from cassandra.metadata import protect_name

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.errors import StoreMisconfigured

_SELECT = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
_QUORUMS = {"QUORUM", "LOCAL_QUORUM", "EACH_QUORUM", "ALL"}


def wanted(options: CassandraOptions, nodes: Mapping[str, int]) -> dict[str, str]:
    """The replication of a new keyspace. `nodes` counts those of each data centre.

    Raises StoreMisconfigured when the cluster cannot hold that many copies.
    """
    if options.repl_strategy == "SimpleStrategy":
        if len(nodes) > 1:
            raise StoreMisconfigured(
                f"SimpleStrategy cannot serve the data centres {', '.join(sorted(nodes))}: "
                "set cassandra_repl_strategy = NetworkTopologyStrategy"
            )
        _check("cassandra_repl_factor", options.repl_factor, sum(nodes.values()), "the cluster")
        return {"class": "SimpleStrategy", "replication_factor": str(options.repl_factor)}
    local = options.local_datacenter or next(iter(nodes), "")
    copies = dict(options.data_centers) or {local: options.repl_factor}
    setting = "cassandra_data_centers" if options.data_centers else "cassandra_repl_factor"
    for name, factor in copies.items():
        if name not in nodes:
            raise StoreMisconfigured(
                f"cassandra_data_centers names '{name}', but the cluster has only {', '.join(sorted(nodes))}"
            )
        _check(setting, factor, nodes[name], f"the data centre '{name}'")
    if local not in copies:
        raise StoreMisconfigured(
            f"cassandra_data_centers leaves out the local data centre '{local}': nothing could be read there"
        )
    return {"class": "NetworkTopologyStrategy", **{name: str(factor) for name, factor in copies.items()}}


def judge(options: CassandraOptions, replication: Mapping[str, str], nodes: Mapping[str, int]) -> None:
    """Raise StoreMisconfigured when a keyspace with this replication can never serve the local data centre."""
    local = options.local_datacenter or next(iter(nodes), "")
    levels = {options.read_consistency, options.write_consistency}
    if replication.get("class", "").endswith("NetworkTopologyStrategy"):
        copies, available, place = int(replication.get(local, 0)), nodes.get(local, 0), f"the data centre '{local}'"
    elif replication.get("class", "").endswith("SimpleStrategy"):
        copies, available, place = int(replication["replication_factor"]), sum(nodes.values()), "the cluster"
    else:
        return
    if copies == 0:
        raise StoreMisconfigured(
            f"the Cassandra keyspace '{options.keyspace}' has no copies in {place}: add them with ALTER KEYSPACE, "
            "or correct cassandra_local_datacenter"
        )
    if levels & _QUORUMS and copies // 2 + 1 > available:
        raise StoreMisconfigured(
            f"the Cassandra keyspace '{options.keyspace}' wants {copies} copies in {place}, which has {available} "
            f"node{'s' * (available != 1)}: no quorum is possible; lower its replication with ALTER KEYSPACE, or add "
            "nodes"
        )


def find(session: Any, name: str) -> dict[str, str] | None:
    """The replication of a keyspace, None when there is none."""
    rows = list(session.execute(_SELECT, (name,)))
    return dict(rows[0][0]) if rows else None


def creation(options: CassandraOptions, replication: Mapping[str, str]) -> str:
    """The statement that creates the keyspace."""
    entries = ", ".join(f"'{key}': '{value}'" for key, value in replication.items())
    return f"CREATE KEYSPACE IF NOT EXISTS {protect_name(options.keyspace)} WITH replication = {{{entries}}}"


def not_allowed(options: CassandraOptions, statement: str, error: Unauthorized) -> StoreMisconfigured:
    """The keyspace is missing, and the role may not create it."""
    made = StoreMisconfigured(
        f"the Cassandra keyspace '{options.keyspace}' does not exist and the role '{options.username}' may not create "
        f"it: have it created ({statement}) and GRANT ALL PERMISSIONS ON KEYSPACE {options.keyspace} to the role"
    )
    made.__cause__ = error
    return made


def _check(setting: str, factor: int, nodes: int, place: str) -> None:
    if factor > nodes:
        raise StoreMisconfigured(
            f"{setting} wants {factor} copies, but {place} has {nodes} node{'s' * (nodes != 1)}: lower it, or add nodes"
        )
