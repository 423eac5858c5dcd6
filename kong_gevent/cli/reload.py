"""`reload`: new settings for a running gateway."""

from __future__ import annotations

import signal
from typing import Any

import click

from kong_gevent import conf
from kong_gevent.cli import probe, process
from kong_gevent.cli.base import CONTEXT, Options, add_options, example, ignored, nginx_options
from kong_gevent.cli.declared import load_document
from kong_gevent.cli.startup import check_plugins
from kong_gevent.conf import Settings
from kong_gevent.conf import prefix as folder
from kong_gevent.runtime.listen import wanted

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
        check_plugins(settings)
        _refuse_busy(settings, conf.load_running(prefix))
        folder.prepare(settings)
        load_document(settings, fallback=False)
        folder.save(settings)
        old = process.children(pid)
        process.send(pid, signal.SIGHUP)
        _wait(pid, old, settings)
    click.echo("Kong reloaded")


def _refuse_busy(settings: Settings, running: Settings) -> None:
    """Addresses that the running gateway does not hold yet have to be free."""
    held = {listener.address for _, listener in wanted(running)}
    new = [(name, listener) for name, listener in wanted(settings) if listener.address not in held]
    messages = probe.busy(new)
    if messages:
        raise conf.ConfigurationError(messages)


def _wait(pid: int, old: set[int], settings: Settings) -> None:
    """Wait until no old worker takes connections any more and the new ones do; old requests may still run on."""
    problem = [""]

    def done() -> bool:
        if not process.alive(pid):
            return True
        if any(process.listens(worker) for worker in old):
            problem[0] = "workers with the old settings still accept connections"
            return False
        problem[0] = probe.not_ready(settings) or ""
        # A node that was told to drain stays not ready; that is no failure of the reload.
        return not problem[0] or "draining" in problem[0]

    finished = process.wait_until(done, _SECONDS)
    log = settings.error_log("proxy")
    if not process.alive(pid):
        raise click.ClickException(f"the gateway ended while it reloaded; the reason is in {log}")
    if not finished:
        raise click.ClickException(f"not ready {_SECONDS:g} s after the reload: {problem[0]}; see {log}")
