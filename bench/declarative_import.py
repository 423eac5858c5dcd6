"""How long a document of 10,000 entities takes to be applied, and what proxied requests notice of it.

python -m bench.declarative_import [--entities 10000]
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import requests

from tests.gateway import Gateway
from tests.upstream import Upstream


def document(entities: int, url: str) -> dict[str, object]:
    """Services with a route and a plugin each, consumers with a key each."""
    services = [
        {
            "name": f"s{number}",
            "url": url,
            "routes": [{"name": f"r{number}", "paths": [f"/r/{number}"], "plugins": [{"name": "cors"}]}],
        }
        for number in range(entities // 5)
    ]
    consumers = [
        {"username": f"u{number}", "keyauth_credentials": [{"key": f"k{number}"}]} for number in range(entities // 5)
    ]
    steady = {"name": "steady", "url": url, "routes": [{"name": "steady", "paths": ["/steady"]}]}
    return {"_format_version": "3.0", "services": [*services, steady], "consumers": consumers}


class Load:
    """One request after the other, and how long each took (s)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self.times: list[float] = []
        self.failures = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        session = requests.Session()
        while not self._ended.is_set():
            began = time.perf_counter()
            self.failures += session.get(self._url).status_code != 200
            self.times.append(time.perf_counter() - began)
            time.sleep(0.002)

    def end(self) -> tuple[float, float]:
        """p50 and p99 in ms."""
        self._ended.set()
        self._thread.join()
        ordered = sorted(self.times)
        return 1000 * ordered[len(ordered) // 2], 1000 * ordered[int(len(ordered) * 0.99)]


def main() -> None:
    """Measure, print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entities", type=int, default=10_000)
    entities = parser.parse_args().entities
    with Upstream() as upstream, Gateway(workers=1, database="sqlite") as gateway:
        gateway.create("/services", name="steady", url=upstream.url)
        gateway.create("/services/steady/routes", name="steady", paths=["/steady"])
        quiet = Load(gateway.proxy_url + "/steady")
        time.sleep(5)
        quiet_times = quiet.end()
        body = json.dumps(document(entities, upstream.url))
        busy = Load(gateway.proxy_url + "/steady")
        began = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        answer = requests.post(gateway.admin_url + "/config", data=body, headers=headers, timeout=300)
        seconds = time.perf_counter() - began
        busy_times = busy.end()
        found = {
            "entities": answer.json().get("summary"),
            "bytes": len(body),
            "seconds": round(seconds, 2),
            "quiet_ms": [round(value, 2) for value in quiet_times],
            "busy_ms": [round(value, 2) for value in busy_times],
            "failures": quiet.failures + busy.failures,
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main()
