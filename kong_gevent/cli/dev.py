"""`dev`: servers for development on this machine. `dev cassandra` runs a real Cassandra, one node or several."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kong_gevent.cli.base import CONTEXT, Subcommands, example
from kong_gevent.cli.progress import Status

if TYPE_CHECKING:
    from kong_gevent.devtools.cluster import Cluster, Layout
    from kong_gevent.devtools.node import Node

_UP = ('eval "$(kong-gevent dev cassandra up)"', "kong-gevent start --run-migrations")


@click.command(
    "dev",
    cls=Subcommands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog=example("kong-gevent dev cassandra up", "kong-gevent dev cassandra down"),
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run servers for development on this machine."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.group("cassandra", cls=Subcommands, context_settings=CONTEXT, epilog=example(*_UP))
def cassandra() -> None:
    """A local Cassandra: its jars come from Maven Central once, its nodes listen on loopback addresses only."""


def _in_folder(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", default=None,
        help=f"Where the nodes and their data live.  [default: {_data_folder()}]",
    )(function)  # fmt: skip


def _data_folder() -> Path:
    return Path.home() / ".local" / "share" / "kong-gevent" / "cassandra"


@cassandra.command("fetch", epilog=example("kong-gevent dev cassandra fetch"))
def fetch() -> None:
    """Fetch Cassandra's jars, unless they are here."""
    from kong_gevent.devtools import jars

    with Status() as status:
        folder = jars.fetch(say=status)
    click.echo(f"Cassandra {jars.VERSION} is in {folder}")


@cassandra.command("up", epilog=example(*_UP, "kong-gevent dev cassandra up --data-centers east:2,west:1"))
@click.option("--address", default="127.0.0.1", show_default=True, help="Of the first node; the others follow it.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9042, show_default=True, help="Port for clients, on every node."
)
@click.option("--nodes", type=click.IntRange(1, 9), default=1, show_default=True, help="Number of nodes.")
@click.option("--data-centers", metavar="NAME:NODES,...", help="Several data centres, instead of --nodes.")
@click.option("--auth", is_flag=True, help="Let clients log in, as 'cassandra' with the password 'cassandra'.")
@click.option(
    "--tls", type=click.Choice(["off", "server", "mutual"]), default="off", show_default=True,
    help="TLS, with certificates of the server or of both sides.",
)  # fmt: skip
@_in_folder
@click.pass_context
def up(ctx: click.Context, /, folder: Path | None, **options: Any) -> None:
    """Start what does not run, wait until it serves, and print the gateway's settings for it.

    Without options it starts what was there before, with its data.
    """
    from kong_gevent.devtools.cluster import Cluster

    folder = folder or _data_folder()
    found = Cluster.load(folder)
    if found is None or any(ctx.get_parameter_source(name) is not _DEFAULT for name in options):
        wanted = Cluster(folder, _layout(**options))
        if found is not None and found.layout != wanted.layout:
            raise click.ClickException(
                f"there is another cluster in {folder} ({_describe(found)}): 'kong-gevent dev cassandra down --remove' "
                "removes it, --folder takes another place"
            )
        found = wanted
    with Status() as status:
        found.up(status)
    click.echo(f"Cassandra runs: {_describe(found)}, in {folder}. Settings for the gateway:", err=True)
    for name, value in found.settings().items():
        click.echo(f"export {name}={shlex.quote(value)}")


_DEFAULT = click.core.ParameterSource.DEFAULT


def _layout(address: str, port: int, nodes: int, data_centers: str | None, auth: bool, tls: str) -> Layout:
    from kong_gevent.devtools.cluster import Layout

    try:
        loopback = IPv4Address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise click.BadParameter(f"{address!r} is no loopback address (127.…).", param_hint="'--address'")
    centers = _centers(data_centers) if data_centers else {"dc1": nodes}
    return Layout(first_address=address, port=port, data_centers=centers, auth=auth, tls=tls)


def _centers(text: str) -> dict[str, int]:
    """`east:2,west:1` as a dictionary. Raises BadParameter."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition(":")
        if not name.isidentifier() or name in found or not number.isdecimal() or not 1 <= int(number) <= 9:
            raise click.BadParameter(f"{part.strip()!r} is not NAME:NODES.", param_hint="'--data-centers'")
        found[name] = int(number)
    return found


@cassandra.command("down", epilog=example("kong-gevent dev cassandra down"))
@click.option("--remove", is_flag=True, help="Delete the nodes with all their data.")
@_in_folder
def down(folder: Path | None, remove: bool) -> None:
    """Stop all nodes; what they store stays."""
    found = _existing(folder)
    with Status() as status:
        for node in found.nodes:
            if node.pid and not remove:
                status(f"Stopping Cassandra on {node.address}")
                node.stop()
    if remove:
        found.remove()
    click.echo(f"Cassandra {'is removed from' if remove else 'is stopped, its data stays in'} {found.folder}")


@cassandra.command("status", epilog=example("kong-gevent dev cassandra status"))
@_in_folder
def status(folder: Path | None) -> int:
    """Say which nodes serve; exit code 1 unless all of them do."""
    found = _existing(folder)
    states = [_state(node) for node in found.nodes]
    for node, state in zip(found.nodes, states, strict=True):
        click.echo(f"{node.address}:{found.port}  {state}")
    return 0 if set(states) == {"serves"} else 1


def _existing(folder: Path | None) -> Cluster:
    from kong_gevent.devtools.cluster import Cluster

    found = Cluster.load(folder or _data_folder())
    if found is None:
        raise click.ClickException(
            f"there is no Cassandra in {folder or _data_folder()}: 'kong-gevent dev cassandra up' makes one"
        )
    return found


def _describe(cluster: Cluster) -> str:
    centers = ", ".join(
        f"{name}: {nodes} node{'s' * (nodes > 1)}" for name, nodes in cluster.layout.data_centers.items()
    )
    return f"{centers} at {cluster.addresses[0]}:{cluster.port}"


def _state(node: Node) -> str:
    if not node.pid:
        return "stopped"
    return "serves" if node.ready() else "starts"
