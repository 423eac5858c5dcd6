"""Starting a gateway: prepare prefix and store, run gunicorn, wait until everything answers or say why it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from kong_gevent import conf
from kong_gevent.cli import probe, process
from kong_gevent.cli.base import Options
from kong_gevent.cli.datastore import Patience, make_ready
from kong_gevent.cli.declared import load_document
from kong_gevent.cli.waiting import TICK_SECONDS
from kong_gevent.conf import Settings, prefix
from kong_gevent.runtime import snapshot
from kong_gevent.runtime.listen import wanted

START_SECONDS = 60.0
_TAIL_LINES = 15
_ORPHAN_SECONDS = 10.0


def start(
    options: Options, foreground: bool = False, run_migrations: bool = False, patience: Patience | None = None
) -> None:
    """Start a gateway; returns when it serves. In the foreground this process becomes the gateway and nothing returns.

    Raises ClickException with the reason on every failure; nothing is left running then.
    """
    settings = options.load()
    prefix.prepare(settings)
    check_plugins(settings)
    with process.start_lock(settings.prefix):
        crashed = refuse_running(settings)
        _refuse_busy(settings, _ORPHAN_SECONDS if crashed else 0)
        make_ready(settings, run_migrations, patience or Patience(), options.verbose, has_last_good(settings))
        load_document(settings, fallback=True)
        prefix.save(settings)
        if foreground or not settings.nginx_daemon:
            _become(settings)
        _run(settings, options)
    click.echo("Kong started")


def refuse_running(settings: Settings) -> bool:
    """Raise ClickException when a gateway runs in the prefix; True when one that ended badly left its pid file."""
    if process.running_pid(settings.prefix):
        raise click.ClickException(f"Kong is already running in {settings.prefix}")
    left = process.pid_file(settings.prefix)
    if not left.exists():
        return False
    left.unlink()
    return True


def check_plugins(settings: Settings) -> None:
    """Raise ConfigurationError when a plugin that the settings name cannot be loaded."""
    from kong_gevent.pdk.loader import load_plugins

    load_plugins(settings.plugins)


def has_last_good(settings: Settings) -> bool:
    """Whether this node can serve without its store, from what it has kept on disk; says so when that is damaged."""
    try:
        if settings.database in ("memory", "off"):
            return False
        snapshot.check(snapshot.path(settings.prefix), snapshot.origin_of(settings))
    except FileNotFoundError:
        return False
    except snapshot.SnapshotRefused as error:
        click.echo(f"Warning: the last good configuration of this node cannot be used: {error}", err=True)
        return False
    return True


def command() -> list[str]:
    """The command line of the gateway's master process."""
    serve = Path(__file__).with_name("serve.py")
    # A file, not a module name: gunicorn runs a file again at every reload, a module only once.
    return [sys.executable, str(serve), "-c", conf.server_file(), "kong_gevent.app:application"]


def next_steps(settings: Settings) -> str:
    """What a new user can type now."""
    if not (settings.admin_listeners and settings.proxy_listeners):
        return ""
    admin = probe.client_url(settings.admin_listeners[0])
    proxy = probe.client_url(settings.proxy_listeners[0])
    upstream = probe.client_url(settings.status_listeners[0]) if settings.status_listeners else "http://example.com"
    return (
        "\nNext: add a service (any URL; here the gateway's own status page) and a route to it, then call it:\n"
        f"  curl {admin}/services -d name=example -d url={upstream}/status\n"
        f"  curl {admin}/services/example/routes -d 'paths[]=/example'\n"
        f"  curl {proxy}/example"
    )


def _refuse_busy(settings: Settings, patience: float) -> None:
    """Workers whose master was killed leave within moments: wait `patience` seconds for their addresses."""
    messages: list[str] = []

    def free() -> bool:
        messages[:] = probe.busy(wanted(settings))
        return not messages

    if not process.wait_until(free, patience):
        raise conf.ConfigurationError(messages)


def _become(settings: Settings) -> NoReturn:
    """Replace this process by the gateway, so that whoever supervises it signals the gateway itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    line = command()
    os.execve(line[0], line, conf.environment(settings))


def _run(settings: Settings, options: Options) -> None:
    """Start the gateway in the background and wait until it serves."""
    boot = Path(settings.prefix, "logs", "boot.log")
    errors = _Tail(settings.error_log("proxy"))
    options.verbose(f"running: {' '.join(command())}")
    with boot.open("wb") as output:
        master = subprocess.Popen(
            command(), cwd=settings.prefix, env=conf.environment(settings), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        reason = _wait(master, settings)
    except BaseException:
        _end(master, settings)
        raise
    if reason:
        _end(master, settings)
        raise click.ClickException(_explain(reason, settings, [_last_lines(boot.read_bytes()), errors.lines()]))


def _wait(master: subprocess.Popen[bytes], settings: Settings) -> str | None:
    """None when the gateway serves, else why it does not."""
    began = told = time.monotonic()
    workers: set[int] = set()
    while True:
        if master.poll() is not None:
            return f"the process ended with code {master.returncode}"
        reason = probe.not_ready(settings)
        if reason is None:
            return None
        workers |= process.children(master.pid)
        if len(workers) > 3 * settings.workers + 3:
            return "its workers end as soon as they are started"
        now = time.monotonic()
        if now >= began + START_SECONDS:
            return f"not ready after {START_SECONDS:g} s: {reason}"
        if now >= told + TICK_SECONDS:
            told = now
            click.echo(f"Waiting for the gateway, {began + START_SECONDS - now:.0f} s more at most: {reason}", err=True)
        time.sleep(0.05)


def _end(master: subprocess.Popen[bytes], settings: Settings) -> None:
    process.kill(master.pid)
    master.wait()
    process.forget(settings.prefix, master.pid)


def _explain(reason: str, settings: Settings, outputs: list[list[str]]) -> str:
    """One screen: the reason, what the processes said last, and what to look at."""
    lines = [f"Kong did not start: {reason}"]
    said = list(dict.fromkeys(line for output in outputs for line in output))[-_TAIL_LINES:]
    if said:
        lines += ["the last it said:", *(f"  {line}" for line in said)]
    lines.append(f"more in {settings.error_log('proxy')} and {settings.path('logs/boot.log')}")
    return "\n       ".join(lines)


class _Tail:
    """What is appended to a log file from now on."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._size = self._path.stat().st_size if self._path.is_file() else 0

    def lines(self) -> list[str]:
        """The last lines that are new; none when it is no regular file."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._size if self._size <= size else 0, size - 16384))
            return _last_lines(log.read())


def _last_lines(data: bytes) -> list[str]:
    lines = [line.rstrip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return [line if len(line) <= 200 else line[:197] + "..." for line in lines[-_TAIL_LINES:]]
