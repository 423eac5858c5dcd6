"""Loads a node's configuration as a worker does, and says which kinds of entities that read; run as a program.

python -m tests.integration.starting
"""

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import json
from typing import Any

from kong_gevent import conf
from kong_gevent.runtime.boot import build_node
from kong_gevent.runtime.loading import load_once
from kong_gevent.runtime.shared import SharedState

READS = ("read", "find", "page", "children", "count")


def run() -> None:
    """Build a node, load, print a JSON list."""
    shared = SharedState(counter_slots=1 << 12)
    node = build_node(conf.load(), shared, shared.take_lane())
    strategy, kinds = node.store.strategy, set()

    def spied(name: str) -> Any:
        method = getattr(strategy, name)

        def call(kind: Any, *arguments: Any, **options: Any) -> Any:
            kinds.add(kind if name != "children" else arguments[0])
            return method(kind, *arguments, **options)

        return call

    for name in READS:
        setattr(strategy, name, spied(name))
    load_once(node)
    assert node.sync.loaded
    print(json.dumps(sorted(kinds)))
    node.store.close()


if __name__ == "__main__":
    run()
