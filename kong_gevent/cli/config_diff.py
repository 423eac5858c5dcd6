"""`config diff`: what `config sync` would change."""

from __future__ import annotations

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, count, gateway_options, query_of, send, show, tag_option

DIFFERENT = 2


@click.command("diff", context_settings=CONTEXT, epilog=example("kong-gevent config diff kong.yml --exit-code"))
@click.argument("file", metavar="FILE")
@tag_option
@click.option("--exit-code", is_flag=True, help="End with code 2 when there are differences.")
@gateway_options
@add_options()
@click.pass_context
def command(
    ctx: click.Context,
    options: Options,
    file: str,
    tags: tuple[str, ...],
    exit_code: bool,
    remote: Remote,
) -> int:
    """Show what would have to change for a running gateway to have what FILE says. Nothing is changed."""
    with connect(options, remote) as client:
        outcome = send(options, client, file, query_of(tags, prune=True, dry_run=True))
    show(outcome)
    return DIFFERENT if exit_code and count(outcome["summary"]) else 0
