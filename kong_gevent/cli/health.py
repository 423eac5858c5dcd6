"""`health`: is a gateway running."""

from __future__ import annotations

import click

from kong_gevent.cli import process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example


@click.command("health", context_settings=CONTEXT, epilog=example("kong-gevent health -p /var/lib/kong"))
@add_options(with_conf=False)
def command(options: Options) -> None:
    """Say whether the gateway of this prefix runs; exit code 1 when it does not."""
    prefix = options.running_prefix()
    if process.running_pid(prefix) is None:
        raise click.ClickException(f"Kong is not running at {prefix}")
    # Kong's line, letter by letter: monitoring scripts look for it, although the server is another one here.
    click.echo("nginx.......running\n")
    click.echo(f"Kong is healthy at {prefix}")
