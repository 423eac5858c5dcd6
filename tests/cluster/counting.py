"""A limit as clients see it: what they were allowed, and what the nodes say is left."""

import threading
from time import sleep

from tests.gateway import Gateway
from tests.wire import wait_until

SOON = 60
PAUSE = 0.05


class Limit:
    """A limit per year on one path; `passed`: requests that were counted and let through, at whichever node."""

    def __init__(self, path: str, year: int) -> None:
        self.path = path
        self.year = year
        self.passed = 0
        self._lock = threading.Lock()

    def _ask(self, node: Gateway) -> tuple[int, int]:
        """Status and what the node says is left; -1: nothing."""
        answer = node.get(self.path)
        left = int(answer.headers.get("X-RateLimit-Remaining-Year", "-1"))
        if answer.status_code == 200 and left >= 0:
            with self._lock:
                self.passed += 1
        return answer.status_code, left

    def ask(self, node: Gateway, times: int) -> None:
        """Requests that must pass."""
        for _ in range(times):
            status, left = self._ask(node)
            assert (status, left >= 0) == (200, True), (status, left)

    def left(self, node: Gateway) -> int:
        """What a node says is left, after one more request that passes."""
        status, left = self._ask(node)
        assert status == 200
        return left

    def wait_until_in_force(self, node: Gateway) -> None:
        """Return when the node counts."""
        wait_until(lambda: self._ask(node)[1] >= 0, SOON)

    def settle(self, node: Gateway) -> None:
        """Ask until the node knows of every request that has passed anywhere."""

        def knows() -> bool:
            sleep(PAUSE)
            return self.left(node) == self.year - self.passed

        wait_until(knows, SOON)

    def exhaust(self, node: Gateway) -> None:
        """Ask until the node refuses."""
        while True:
            status, left = self._ask(node)
            if status == 429:
                assert left == 0
                return
            assert status == 200
