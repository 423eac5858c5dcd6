"""`stop`: end a gateway at once."""

from __future__ import annotations

import click

from kong_gevent.cli import process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.stopping import stop_now


@click.command("stop", context_settings=CONTEXT, epilog=example("kong-gevent stop -p /var/lib/kong"))
@add_options(with_conf=False)
def command(options: Options) -> None:
    """Stop a running gateway at once; requests in flight are cut. `quit` lets them finish."""
    prefix = options.running_prefix()
    stop_now(prefix, process.require_running(prefix))
    click.echo("Kong stopped")
