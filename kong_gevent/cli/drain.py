"""`drain`: fail readiness before anything else changes."""

from __future__ import annotations

import click

from kong_gevent.cli import probe, process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.stopping import fail_readiness


@click.command("drain", context_settings=CONTEXT, epilog=example("kong-gevent drain -p /var/lib/kong"))
@add_options()
def command(options: Options) -> None:
    """Let GET /status/ready answer 503, so that load balancers go elsewhere; traffic is still served."""
    prefix = options.running_prefix()
    process.require_running(prefix)
    listeners = options.running().status_listeners
    if not listeners:
        raise click.ClickException("status_listen is off: there is no readiness to change")
    fail_readiness(listeners[0])
    click.echo(f"Kong's status successfully changed to 'draining' at {probe.client_url(listeners[0])}")
