"""Batch queues: batches, retries, bounds, and an end that sends what is left."""

from typing import Any

import gevent
import pytest

from kong_gevent.runtime import queues
from kong_gevent.runtime.queues import BatchQueue


class Sink:
    """Takes batches; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[list[Any]] = []
        self.failures = failures

    def __call__(self, batch: list[Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("the sink is down")
        self.batches.append(list(batch))


def test_a_full_batch_goes_at_once_the_rest_at_the_end() -> None:
    sink = Sink()
    queue = BatchQueue("q", sink, max_batch_size=3, max_coalescing_delay=60)
    for number in range(4):
        queue.put(number)
    gevent.sleep(0.01)
    assert sink.batches == [[0, 1, 2]]
    queue.flush()
    assert sink.batches == [[0, 1, 2], [3]]


def test_a_failed_batch_is_sent_again() -> None:
    sink = Sink(failures=2)
    queue = BatchQueue("q", sink, max_batch_size=2, max_coalescing_delay=0, initial_retry_delay=0.001)
    queue.put("a")
    queue.put("b")
    queue.flush()
    assert sink.batches == [["a", "b"]]
    assert queue.dropped == 0


@pytest.mark.parametrize(
    ("parameters", "waits"),
    [
        ({}, [0.01 * 2**number for number in range(13)] + [60] * 1200),
        ({"initial_retry_delay": 0.5, "max_retry_delay": 3}, [0.5, 1, 2, 3, 3] + [3] * 1200),
    ],
)
def test_waits_are_doubled_up_to_the_longest(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, float], waits: list[float]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(queues.gevent, "sleep", slept.append)
    sink = Sink(failures=len(waits))
    queue = BatchQueue("q", sink, max_coalescing_delay=0, max_retry_time=10**9, **parameters)
    queue.put("a")
    queue.flush()
    assert sink.batches == [["a"]]
    assert slept == pytest.approx(waits)


def test_a_batch_is_given_up_when_its_time_is_over() -> None:
    sink = Sink(failures=10**6)
    queue = BatchQueue(
        "q", sink, max_coalescing_delay=0, max_retry_time=0.01, initial_retry_delay=0.001, max_retry_delay=0.002
    )
    queue.put("lost")
    queue.flush()
    assert (sink.batches, queue.dropped) == ([], 1)
    sink.failures = 0
    queue = BatchQueue("q", sink, max_coalescing_delay=0)
    queue.put("kept")
    queue.flush()
    assert sink.batches == [["kept"]]


def test_a_full_queue_drops_the_oldest() -> None:
    sink = Sink()
    queue = BatchQueue("q", sink, max_batch_size=10, max_coalescing_delay=60, max_entries=3)
    for number in range(5):
        queue.put(number)
    assert (len(queue), queue.dropped) == (3, 2)
    queue.flush()
    assert sink.batches == [[2, 3, 4]]
