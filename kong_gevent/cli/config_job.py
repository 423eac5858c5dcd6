"""`config job`: a large change set, made for a worker that has requests to serve."""

from __future__ import annotations

import gc
import os
import pickle
import sys

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options
from kong_gevent.cli.datastore import opened

NICENESS = 8
"""Requests go first; whoever starts this lets it work in `kong_gevent.turns` as well."""
GC_THRESHOLDS = (700, 10, 1 << 30)
"""Never a full collection: nothing interrupts it, and most of what there is stays to the end."""


@click.command("job", context_settings=CONTEXT, hidden=True)
@add_options()
def command(options: Options) -> None:
    """Do what another process of the gateway hands over on standard input."""
    from kong_gevent import conf
    from kong_gevent.declarative.apart import run_job
    from kong_gevent.declarative.progress import JobProgress

    os.nice(NICENESS)
    gc.set_threshold(*GC_THRESHOLDS)
    settings = conf.load(options.file, options.overrides)
    with opened(settings, plugins=True) as store, JobProgress(settings.prefix) as progress:
        store.connect()
        found = run_job(store, pickle.load(sys.stdin.buffer), progress)
    # With PYTHONUNBUFFERED the interpreter's own stream may write a part only, as it is without a buffer.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(found)
    os._exit(0)  # to take apart what there is, as the interpreter does at its end, would be one long turn
