"""Documents as change sets: whole or not at all, also when whoever applies one is killed."""

import os
import signal
import time

import gevent

from kong_gevent.db import Store
from kong_gevent.declarative import applying, history, read_json
from kong_gevent.declarative.applying import Request
from tests.contract.backends import Backend

ENTITIES = 40
APPLIER = f"""
from kong_gevent.declarative import applying, read_json
applying._LOCK_SECONDS = 0.2  # what a killed process leaves is not to be waited for
store.connect()
number = 0
while True:
    mark = f"{{os.getpid()}}-{{number}}"
    services = [{{"name": f"s{{n}}", "host": mark, "routes": [{{"name": f"r{{n}}", "paths": ["/" + mark]}}]}}
                for n in range({ENTITIES})]
    services.append({{"name": "only-" + mark, "host": mark}})
    text = json.dumps({{"_format_version": "3.0", "services": services}}).encode()
    try:
        applying.apply(store, read_json(text), applying.Request("tester", mark, prune=True), lambda count: None)
    except applying.Busy:
        continue
    print(number, flush=True)
    number += 1
"""


def marks(store: Store) -> set[str]:
    """What the entities of a store, which belong to one document, say about which it is."""
    services, routes = list(store.dao("services").each()), list(store.dao("routes").each())
    assert len(services) == ENTITIES + 1
    assert len(routes) == ENTITIES
    found = {service["host"] for service in services} | {path[1:] for route in routes for path in route["paths"]}
    only = [service["name"] for service in services if service["name"].startswith("only-")]
    return found | {name.removeprefix("only-") for name in only} | {history.entries(store)[0].source}


def test_a_killed_process_leaves_one_document_or_the_other(shared_store: Store, shared_backend: Backend) -> None:
    took = 0.0
    for part in range(6):
        with shared_backend.process(APPLIER) as applier:
            assert applier.stdout is not None
            done = [int(applier.stdout.readline())]
            began = time.monotonic()
            done.append(int(applier.stdout.readline()))
            took = time.monotonic() - began
            gevent.sleep(took * part / 6)  # at another moment of the next document each time
            os.kill(applier.pid, signal.SIGKILL)
            done += [int(line) for line in applier.stdout if line.endswith("\n")]
        store = shared_backend.open()  # a node that starts finishes what has been decided
        try:
            store.connect()
            assert marks(store) in [{f"{applier.pid}-{number}"} for number in (done[-1], done[-1] + 1)]
        finally:
            store.close()


def test_a_change_set_and_its_way_back_in_every_store(store: Store) -> None:
    kept = store.dao("services").insert({"name": "kept", "host": "before", "tags": ["t"]})
    gone = store.dao("routes").insert({"name": "gone", "paths": ["/gone"], "service": {"id": kept["id"]}})
    text = b'{"_format_version": "3.0", "services": [{"name": "kept", "host": "after"}, {"name": "new", "host": "h"}]}'
    for dry_run in (True, False):
        request = Request("tester", "test", prune=True, dry_run=dry_run)
        outcome = applying.apply(store, read_json(text), request, lambda count: None)
        assert outcome.summary == {"created": 1, "updated": 1, "deleted": 1, "unchanged": 0}
        hosts = {service["name"]: service["host"] for service in store.dao("services").each()}
        assert hosts == ({"kept": "before"} if dry_run else {"kept": "after", "new": "h"})
    back = applying.rollback(store, outcome.id, "tester", lambda count: None)
    assert back.summary == {"created": 1, "updated": 1, "deleted": 1, "unchanged": 0}
    (service,) = store.dao("services").each()
    assert {**service, "updated_at": kept["updated_at"]} == kept
    (route,) = store.dao("routes").each()
    assert {**route, "updated_at": gone["updated_at"]} == gone
    assert [entry.source for entry in history.entries(store)] == ["rollback", "test"]
