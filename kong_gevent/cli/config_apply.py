"""`config apply`: what a file says is added to a running gateway."""

from __future__ import annotations

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, gateway_options, query_of, send, show


@click.command("apply", context_settings=CONTEXT, epilog=example("kong-gevent config apply kong.yml"))
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@gateway_options
@add_options()
def command(options: Options, file: str, dry_run: bool, remote: Remote) -> None:
    """Create and update what FILE says in a running gateway, in one step or not at all; nothing else is deleted."""
    with connect(options, remote) as client:
        if client.node()["configuration"].get("database") == "off":
            raise click.ClickException("without a datastore a document replaces everything: that is `config sync`")
        outcome = send(options, client, file, query_of((), prune=False, dry_run=dry_run))
    show(outcome)
