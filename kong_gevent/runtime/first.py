"""What has to be there before the master serves, when gunicorn was started by itself and not by `kong-gevent start`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kong_gevent import conf

_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from kong_gevent.cli import main; main()"


def prepare() -> None:
    """Make prefix and store as `start` does; ends this process when that fails, the reason is on stderr.

    A process of its own does it: the master must neither load the store nor start threads before it forks.
    """
    if conf.is_prepared() or conf.inherits_sockets():
        return
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", _RUN, root, "prepare", "--store"], stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(1)
