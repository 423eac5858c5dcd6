"""`config job`: a large change set, made for a worker that has requests to serve."""

from __future__ import annotations

import os
import pickle
import sys

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options
from kong_gevent.cli.datastore import opened

NICENESS = 5
"""Requests go first."""


@click.command("job", context_settings=CONTEXT, hidden=True)
@add_options()
def command(options: Options) -> None:
    """Do what another process of the gateway hands over on standard input."""
    from kong_gevent import conf
    from kong_gevent.declarative.apart import run_job
    from kong_gevent.declarative.progress import JobProgress
    from kong_gevent.pacing import ShortTurns

    os.nice(NICENESS)
    settings = conf.load(options.file, options.overrides)
    with ShortTurns(), opened(settings, plugins=True) as store, JobProgress(settings.prefix) as progress:
        store.connect()
        found = run_job(store, pickle.load(sys.stdin.buffer), progress)
    # With PYTHONUNBUFFERED the interpreter's own stream may write a part only, as it is without a buffer.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(found)
