"""From a new worker to one that serves and follows the store."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.runtime import loading


class Node(SimpleNamespace):
    """As much of a node as following the store needs. `said`: what it was asked for, in order."""

    def __init__(self) -> None:
        done = Event()
        done.set()
        self.said: list[str] = []
        self.polls = 0
        self.followed = Event()
        super().__init__(
            prepared=False,
            shared=SimpleNamespace(looks=0),
            sync=SimpleNamespace(
                begin=lambda: SimpleNamespace(done=done, succeeded=True),
                poll=self.poll,
                prepared=False,
                failure=None,
                reached=True,
            ),
            settings=SimpleNamespace(get=lambda *_: [], db_update_frequency="0.1"),
            gateway=SimpleNamespace(plan=SimpleNamespace(routes={}, services={})),
            keeper=SimpleNamespace(run=lambda: self.said.append("keep")),
        )

    def look(self) -> None:
        self.said.append("look, not ready yet" if not self.prepared else "look")

    def poll(self) -> None:
        self.polls += 1
        if self.polls == 1:
            raise RuntimeError("something unforeseen")
        self.followed.set()


@pytest.fixture
def node() -> Any:
    made = Node()
    following = gevent.spawn(loading.load_and_follow, made)
    assert made.followed.wait(30)
    following.kill()
    return made


def test_a_new_worker_answers_who_waits_for_all_workers_before_it_serves(node: Node) -> None:
    """It may have been asked to look before it had loaded anything."""
    assert node.said == ["look, not ready yet", "keep"]
    assert node.prepared


def test_a_fault_while_following_is_not_the_end_of_it(node: Node) -> None:
    assert node.polls >= 2
