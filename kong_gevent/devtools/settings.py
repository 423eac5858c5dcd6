"""The configuration files of one Cassandra node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kong_gevent.devtools.certificates import PASSWORD, Certificates
from kong_gevent.devtools.java import Place

STORAGE_PORT = 7000
_LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>{file}</file>
    <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""
_COMMON = """\
cluster_name: kong-gevent local
num_tokens: 1
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: GossipingPropertyFileSnitch
dynamic_snitch: false
start_native_transport: true
commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
cdc_enabled: false
auto_snapshot: false
incremental_backups: false
hinted_handoff_enabled: true
memtable_heap_space: 48MiB
memtable_offheap_space: 48MiB
key_cache_size: 4MiB
counter_cache_size: 4MiB
file_cache_size: 32MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 8
native_transport_max_threads: 32
concurrent_compactors: 1
compaction_throughput: 16MiB/s
role_manager: CassandraRoleManager
"""


@dataclass(frozen=True)
class NodeSettings:
    """What distinguishes a node.

    seeds               addresses of all nodes: then all may start at once
    token               its position on the ring
    durable             whether an acknowledged write survives a killed process; else its last seconds may not
    require_client_tls  whether clients have to show a certificate
    more                further lines of cassandra.yaml; they win over ours
    """

    address: str
    port: int
    seeds: Sequence[str]
    token: int
    data_center: str
    durable: bool = True
    auth: bool = False
    certificates: Certificates | None = None
    require_client_tls: bool = False
    more: Mapping[str, str] = field(default_factory=dict)


def write_settings(place: Place, node: NodeSettings) -> None:
    """Write cassandra.yaml, the place in the topology, and where to log."""
    _write_private(place.conf / "cassandra.yaml", _yaml(node))
    (place.conf / "cassandra-rackdc.properties").write_text(f"dc={node.data_center}\nrack=r1\n")
    (place.conf / "logback.xml").write_text(_LOGBACK.format(file=place.logs / "system.log"))


def _yaml(node: NodeSettings) -> str:
    lines = dict(line.split(": ", 1) for line in _COMMON.splitlines())
    if node.durable:
        lines["commitlog_sync"] = "batch"
    else:
        lines |= {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}
    lines |= {
        "initial_token": str(node.token),
        "listen_address": node.address,
        "rpc_address": node.address,
        "storage_port": str(STORAGE_PORT),
        "native_transport_port": str(node.port),
        "authenticator": "PasswordAuthenticator" if node.auth else "AllowAllAuthenticator",
        "authorizer": "CassandraAuthorizer" if node.auth else "AllowAllAuthorizer",
        "seed_provider": (
            "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, "
            f'parameters: [{{seeds: "{",".join(node.seeds)}"}}]}}]'
        ),
        **({"client_encryption_options": _encryption(node, node.certificates)} if node.certificates else {}),
        **node.more,
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def _encryption(node: NodeSettings, certificates: Certificates) -> str:
    options = {
        "enabled": "true",
        "optional": "false",
        "keystore": f'"{certificates.key_store}"',
        "keystore_password": PASSWORD,
        "store_type": "PKCS12",
        "require_client_auth": str(node.require_client_tls).lower(),
    }
    if node.require_client_tls:
        options |= {"truststore": f'"{certificates.trust_store}"', "truststore_password": PASSWORD}
    return "{" + ", ".join(f"{name}: {value}" for name, value in options.items()) + "}"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
