"""Ending a gateway, at once or after its requests."""

from __future__ import annotations

import signal

import click

from kong_gevent.cli import probe, process
from kong_gevent.conf import Listener

_FAST_SECONDS = 10.0


def fail_readiness(listener: Listener) -> None:
    """Let `/status/ready` answer 503 from now on; traffic is still served. Raises ClickException."""
    try:
        status, text = probe.ask(listener, "POST", "/status/ready", "status=draining")
    except OSError as error:
        raise click.ClickException(f"the status listener does not answer: {error}") from error
    if status >= 300:
        raise click.ClickException(f"the status listener answered {status}: {text.strip()[:200]}")


def stop_now(prefix: str, pid: int) -> None:
    """Ask the master to end at once; kill it and its workers when it does not within ten seconds."""
    process.send(pid, signal.SIGINT)
    if not process.wait_gone(pid, _FAST_SECONDS):
        process.kill(pid)
    process.forget(prefix, pid)


def stop_gracefully(prefix: str, pid: int, seconds: float) -> bool:
    """Let requests finish for at most `seconds`, then force. True when nothing had to be forced."""
    process.send(pid, signal.SIGTERM)
    if process.wait_gone(pid, seconds):
        process.forget(prefix, pid)
        return True
    stop_now(prefix, pid)
    return False
