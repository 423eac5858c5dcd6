"""Ending a gateway, at once or after its requests."""

from __future__ import annotations

import signal

from kong_gevent.cli import process

_FAST_SECONDS = 10.0


def stop_now(prefix: str, pid: int) -> None:
    """Ask the master to end at once; kill it and its workers when it does not within ten seconds."""
    # gunicorn ends at once on SIGQUIT and gracefully on SIGTERM: the other way round than Kong's server.
    process.send(pid, signal.SIGQUIT)
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
