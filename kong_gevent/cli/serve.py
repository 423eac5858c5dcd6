"""gunicorn's own command as a file of ours: `start` runs it, and a binary upgrade (SIGUSR2) runs it again.

gunicorn repeats its own command line on an upgrade, so the program has to be a path that lasts: a checkout, an
installed package and any virtual environment all have this file.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # This folder must not be searched for modules; the one that holds the package must.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from gunicorn.app.wsgiapp import run

    run(prog="gunicorn")
