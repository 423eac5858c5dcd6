"""`quit`: end a gateway after its requests."""

from __future__ import annotations

import click

from kong_gevent.cli import process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.stopping import fail_readiness, stop_gracefully


@click.command("quit", context_settings=CONTEXT, epilog=example("kong-gevent quit -p /var/lib/kong -w 15 -t 60"))
@click.option(
    "-t", "--timeout", type=click.FloatRange(min=0), default=10, show_default=True,
    help="Seconds that requests in flight get before they are cut.",
)  # fmt: skip
@click.option(
    "-w", "--wait", type=click.FloatRange(min=0), default=0, show_default=True,
    help="Seconds to serve on first, while readiness fails, for load balancers to look elsewhere.",
)  # fmt: skip
@add_options(with_conf=False)
def command(options: Options, timeout: float, wait: float) -> None:
    """Stop a running gateway gracefully: no new connections, what is in flight finishes."""
    prefix = options.running_prefix()
    pid = process.require_running(prefix)
    if wait:
        _serve_on(options, pid, wait)
    if stop_gracefully(prefix, pid, timeout):
        click.echo("Kong stopped (gracefully)")
    else:
        click.echo("Timeout, Kong stopped forcefully")


def _serve_on(options: Options, pid: int, seconds: float) -> None:
    """Say that the node is about to leave, and give those who ask some time to hear it."""
    try:
        for listener in options.running().status_listeners[:1]:
            fail_readiness(listener)
    except click.ClickException as error:
        # The node is to leave all the same.
        click.echo(f"Warning: readiness does not fail while the gateway serves on: {error.message}", err=True)
    options.verbose(f"serving on for {seconds:g} s")
    process.wait_gone(pid, seconds)
