"""How a Cassandra daemon is run: the command line, tuned for little memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kong_gevent.devtools import jars, programs

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
_OPENS = (
    *(
        f"java.base/{package}"
        for package in (
            *("java.lang", "java.lang.module", "java.lang.reflect", "java.io", "java.util", "java.util.concurrent"),
            *("java.util.concurrent.atomic", "java.math", "java.net", "java.nio", "sun.nio.ch", "jdk.internal.loader"),
            *("jdk.internal.ref", "jdk.internal.reflect", "jdk.internal.math", "jdk.internal.module"),
            "jdk.internal.util.jar",
        )
    ),
    "jdk.management/com.sun.management.internal",
)
DAEMON = "org.apache.cassandra.service.CassandraDaemon"


@dataclass(frozen=True)
class Frugality:
    """How much memory and processor a node may use, and what it may save.

    heap          as Java writes it (`256m`)
    processors    number that the node believes to have
    durable       False: schema and writes of the last seconds do not survive a killed process; faster
    quick_start   compile with Java's quick compiler only: a faster start, a slower server under lasting load
    """

    heap: str = "256m"
    processors: int = 2
    durable: bool = True
    quick_start: bool = True


@dataclass(frozen=True)
class Place:
    """Where a node's files are."""

    folder: Path

    @property
    def conf(self) -> Path:
        """Configuration files."""
        return self.folder / "conf"

    @property
    def data(self) -> Path:
        """What the node stores."""
        return self.folder / "data"

    @property
    def logs(self) -> Path:
        """`system.log` and `output.log`."""
        return self.folder / "logs"

    @property
    def temporary(self) -> Path:
        """Java's folder for temporary files."""
        return self.folder / "tmp"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.conf, self.data, self.logs, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)


def command(place: Place, lib: Path, frugality: Frugality, grace_ms: int, more: tuple[str, ...] = ()) -> list[str]:
    """The command line of a daemon; `grace_ms` is how long a new role table waits for other nodes.

    Raises ToolError when there is no suitable Java.
    """
    path, version = programs.java()
    line = [
        # What others set for their own Java programs must not change this one.
        *["/usr/bin/env", "-u", "JAVA_TOOL_OPTIONS", "-u", "_JAVA_OPTIONS", path],
        f"-javaagent:{jars.agent(lib)}",
        *_memory(frugality),
        *_properties(place, grace_ms),
    ]
    if not frugality.durable:
        line.append("-Dcassandra.unsafesystem=true")
    if frugality.quick_start:
        line.append("-XX:TieredStopAtLevel=1")
    if version > programs.JAVA_VERSION:
        line.append("-Djava.security.manager=allow")
    line += _archive(lib, version)
    line += more
    for name in _EXPORTS:
        line += ["--add-exports", f"{name}=ALL-UNNAMED"]
    for name in _OPENS:
        line += ["--add-opens", f"{name}=ALL-UNNAMED"]
    return [*line, "-cp", jars.class_path(lib), DAEMON]


def archive_file(lib: Path, version: int) -> Path:
    """The archive of prepared classes beside the jars; it belongs to one version of Java."""
    return lib / f"classes-{version}.jsa"


def _memory(frugality: Frugality) -> list[str]:
    return [
        *[f"-Xms{frugality.heap}", f"-Xmx{frugality.heap}", "-Xss320k", "-XX:MaxDirectMemorySize=256m"],
        *["-XX:ReservedCodeCacheSize=96m", "-XX:+UseSerialGC", "-XX:+PerfDisableSharedMem"],
        *[f"-XX:ActiveProcessorCount={frugality.processors}", "-XX:+ExitOnOutOfMemoryError"],
        *["-Dio.netty.tryReflectionSetAccessible=true", "-Dio.netty.allocator.numDirectArenas=1"],
    ]


def _properties(place: Place, grace_ms: int) -> list[str]:
    return [
        *["-Djdk.attach.allowAttachSelf=true", "-Djava.awt.headless=true", f"-Djava.io.tmpdir={place.temporary}"],
        f"-Dcassandra.config=file://{place.conf}/cassandra.yaml",
        f"-Dcassandra-rackdc.properties=file://{place.conf}/cassandra-rackdc.properties",
        f"-Dlogback.configurationFile={place.conf}/logback.xml",
        *[f"-Dcassandra.storagedir={place.data}", f"-Dcassandra.logdir={place.logs}"],
        *["-Dcassandra-foreground=yes", "-Dcassandra.ring_delay_ms=1000"],
        *["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.shutdown_announce_in_ms=0"],
        f"-Dcassandra.superuser_setup_delay_ms={grace_ms}",
    ]


def _archive(lib: Path, version: int) -> list[str]:
    archive = archive_file(lib, version)
    if not archive.is_file():
        return []
    return [*ARCHIVING, f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"]


ARCHIVING = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+AllowArchivingWithJavaAgent")
"""What Java wants to hear before it archives classes that an agent has seen."""
