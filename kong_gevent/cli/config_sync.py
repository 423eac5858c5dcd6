"""`config sync`: a running gateway is made to have what a file says."""

from __future__ import annotations

import sys

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, count, gateway_options, query_of, send, show, tag_option


@click.command(
    "sync", context_settings=CONTEXT, epilog=example("kong-gevent config sync kong.yml --select-tag team-a --yes")
)
@click.argument("file", metavar="FILE")
@tag_option
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before entities are deleted.")
@gateway_options
@add_options()
def command(
    options: Options,
    file: str,
    tags: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    remote: Remote,
) -> None:
    """Create, update and delete until a running gateway has what FILE says, in one step or not at all."""
    with connect(options, remote) as client:
        outcome = send(options, client, file, query_of(tags, prune=True, dry_run=True))
        show(outcome)
        if dry_run or not count(outcome["summary"]):
            return
        if outcome["summary"]["deleted"] and not yes:
            if not sys.stdin.isatty():
                raise click.ClickException("not a tty: entities would be deleted; say --yes if they may be")
            click.confirm("> Are you sure?", abort=True)
        send(options, client, file, query_of(tags, prune=True, dry_run=False))
    click.echo("synchronised")
