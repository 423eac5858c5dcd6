"""gunicorn's arbiter, except that it goes on working while the workers of an earlier generation finish what they serve.

gunicorn sleeps after a reload until the last old worker has gone. With a tunnel or a long download in flight that takes
as long as a drain may take, and until then no signal is heeded and no worker that died is replaced.

SIGQUIT is what nginx and Kong take it for: leave after the requests, as on SIGTERM. SIGINT ends everything at once.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from gunicorn.arbiter import Arbiter

SPAWN_PAUSE = 0.1
"""Seconds, at most, between the starts of two workers, as gunicorn spreads them."""


class GatewayArbiter(Arbiter):
    """Counts only workers that have not been told to leave as workers of the node."""

    def signal(self, sig: int, frame: Any) -> None:
        """As gunicorn does it, which would end at once on SIGQUIT."""
        super().signal(signal.SIGTERM if sig == signal.SIGQUIT else sig, frame)

    def kill_worker(self, pid: int, sig: int) -> None:
        """As gunicorn does it, whose SIGQUIT is to end a worker at once."""
        super().kill_worker(pid, signal.SIGINT if sig == signal.SIGQUIT else sig)

    def reload(self) -> None:
        """As gunicorn does it, without the wait at the end: nothing else there looks at `graceful_timeout`."""
        super().reload()
        self.cfg.set("graceful_timeout", self._patience)

    def setup(self, app: Any) -> None:
        """Read the settings anew, at a reload."""
        super().setup(app)
        self._patience = self.cfg.graceful_timeout
        self.cfg.set("graceful_timeout", 0)

    def manage_workers(self) -> None:
        """Start workers while there are too few; tell the oldest to leave while there are too many."""
        for _ in range(self.num_workers - len(self._staying())):
            self.spawn_worker()
            time.sleep(SPAWN_PAUSE * random.random())
        staying = self._staying()
        for worker in staying[: max(0, len(staying) - self.num_workers)]:
            worker.leaving = True
        for worker in [worker for worker in self.WORKERS.values() if _leaves(worker)]:
            self.kill_worker(worker.pid, signal.SIGTERM)  # each time: a worker that just starts misses signals

    def _staying(self) -> list[Any]:
        """Workers that have not been told to leave, the oldest first."""
        workers = [worker for worker in self.WORKERS.values() if not _leaves(worker)]
        return sorted(workers, key=lambda worker: worker.age)


def _leaves(worker: Any) -> bool:
    return getattr(worker, "leaving", False)


def on_starting(server: Any) -> None:
    """For gunicorn's hook of this name: gunicorn has no setting for the class of its arbiter."""
    server.__class__ = GatewayArbiter


def post_fork(server: Any, worker: Any) -> None:
    """For gunicorn's hook of this name: until it has handlers of its own a worker would lose what it is told."""
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, worker.handle_exit)
