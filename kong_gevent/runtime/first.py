"""What has to be there before the master serves, when gunicorn was started by itself and not by `kong-gevent start`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kong_gevent import conf

_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from kong_gevent.cli import main; main()"


def load_document() -> bool:
    """Load the document that the settings name, where there is no database; what is wrong goes to stderr."""
    return _command("config", "load") == 0


def prepare() -> None:
    """Make prefix and store as `start` does; ends this process when that fails, the reason is on stderr.

    A process of its own does it: the master must neither load the store nor start threads before it forks.
    """
    if conf.is_prepared() or conf.inherits_sockets():
        return
    if _command("prepare", "--store"):
        sys.exit(1)


def _command(*words: str) -> int:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run([sys.executable, "-c", _RUN, root, *words], stdin=subprocess.DEVNULL).returncode
