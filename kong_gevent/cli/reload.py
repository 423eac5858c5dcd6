"""`reload`: new settings for a running gateway."""

from __future__ import annotations

import signal
from typing import Any

import click

from kong_gevent import conf
from kong_gevent.cli import probe, process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example, ignored, nginx_options
from kong_gevent.conf import Settings
from kong_gevent.conf import prefix as folder

_SECONDS = 60.0


@click.command(
    "reload",
    context_settings=CONTEXT,
    epilog=example("kong-gevent reload -c kong.conf", "KONG_LOG_LEVEL=debug kong-gevent reload"),
)
@nginx_options
@add_options()
def command(options: Options, **kong: Any) -> None:
    """Check the new settings, then let new workers take over; the old ones finish their requests.

    Without -c the settings of the last start or reload count, with the KONG_* variables of now on top.
    """
    ignored(kong)
    prefix = options.running_prefix()
    with process.start_lock(prefix):
        pid = process.require_running(prefix)
        settings = conf.load_again(prefix, options.file)
        for warning in settings.warnings:
            click.echo(f"Warning: {warning}", err=True)
        _refuse_busy(settings, conf.load_running(prefix))
        folder.prepare(settings)
        folder.save(settings)
        old = process.children(pid)
        process.send(pid, signal.SIGHUP)
        _wait(pid, old, settings)
    click.echo("Kong reloaded")


def _refuse_busy(settings: Settings, running: Settings) -> None:
    """Addresses that the running gateway does not hold yet have to be free."""
    held = {listener.address for _, listener in probe.named_listeners(running)}
    new = [(name, listener) for name, listener in probe.named_listeners(settings) if listener.address not in held]
    messages = probe.busy(new)
    if messages:
        raise conf.ConfigurationError(messages)


def _wait(pid: int, old: set[int], settings: Settings) -> None:
    """Wait until as many new workers as wanted are there and the node is ready."""
    problem = ["no new workers"]

    def done() -> bool:
        if not process.alive(pid):
            return True
        if old and len(process.children(pid) - old) < settings.workers:
            return False
        problem[0] = probe.not_ready(settings) or ""
        return not problem[0]

    finished = process.wait_until(done, _SECONDS)
    log = settings.error_log("proxy")
    if not process.alive(pid):
        raise click.ClickException(f"the gateway ended while it reloaded; the reason is in {log}")
    if not finished:
        raise click.ClickException(f"not ready {_SECONDS:g} s after the reload: {problem[0]}; see {log}")
