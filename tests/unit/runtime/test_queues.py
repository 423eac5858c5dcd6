"""Batch queues: batches, retries, bounds, and an end that sends what is left."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.pdk import EntriesLost
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


def test_a_delay_that_is_adjusted_counts_for_what_waits_already() -> None:
    sent = Event()
    queue = BatchQueue("q", lambda batch: sent.set(), max_batch_size=9, max_coalescing_delay=3600)
    queue.put("a")
    gevent.sleep(0.01)
    queue.adjust(max_batch_size=9, max_coalescing_delay=0.1)
    assert sent.wait(30)


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
    # For this module alone: others sleep in loops of their own.
    own = SimpleNamespace(sleep=slept.append, spawn=gevent.spawn, joinall=gevent.joinall)
    monkeypatch.setattr(queues, "gevent", own)
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


class TestLimits:
    def test_it_warns_once_when_it_gets_crowded(self, caplog: pytest.LogCaptureFixture) -> None:
        sink = Sink()
        queue = BatchQueue("q", sink, label="[x plugin 1]", max_batch_size=10, max_coalescing_delay=60, max_entries=5)
        for number in range(4):
            queue.put(number)
        assert caplog.text == ""
        for number in range(4):
            queue.put(number)
        assert caplog.text.count("[x plugin 1] queue q: queue at 80% capacity") == 1
        assert caplog.text.count("queue full, dropping old entries until processing is successful again") == 1
        queue.flush()

    def test_it_tells_that_it_goes_on(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", queues.log.name)
        queue = BatchQueue("q", Sink(), max_coalescing_delay=60, max_batch_size=2, max_entries=1)
        queue.put("dropped")
        queue.put("kept")
        queue.flush()
        assert caplog.text.count("queue q: queue resumed processing") == 1

    def test_bytes_are_bounded(self, caplog: pytest.LogCaptureFixture) -> None:
        sink = Sink()
        queue = BatchQueue("q", sink, max_batch_size=10, max_coalescing_delay=60, max_bytes=10)
        queue.put(b"x" * 11)
        assert "string to be queued is longer (11 bytes) than the queue's max_bytes" in caplog.text
        for text in (b"aaaa", b"bbbb", b"cc", b"ddddddd", {"no": "text"}):
            queue.put(text)
        assert "byte capacity exceeded, 2 queue entries were dropped" in caplog.text
        assert queue.dropped == 3
        queue.flush()
        assert sink.batches == [[b"cc", b"ddddddd", {"no": "text"}]]

    def test_a_sink_that_hangs_costs_bounded_memory_and_few_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        hung = Event()
        queue = BatchQueue("q", lambda batch: hung.wait() and None, max_batch_size=10, max_coalescing_delay=0,
                           max_entries=15_000, max_bytes=1_000_000)  # fmt: skip
        for _ in range(20_000):
            queue.put(b"x" * 1000)
            gevent.sleep(0)
        assert (len(queue), queue.unsent, queue.dropped) == (1000, 1001, 18_999)
        assert caplog.text.count("byte capacity exceeded, 1 queue entries were dropped") == 19
        hung.set()
        queue.flush()
        assert (queue.sent, queue.unsent, queue.dropped) == (1001, 0, 18_999)

    def test_a_limit_of_bytes_may_come_later(self) -> None:
        queue = BatchQueue("q", Sink(), max_batch_size=10, max_coalescing_delay=60)
        queue.put(b"x" * 8)
        queue.adjust(max_bytes=10)
        for _ in range(2):
            for _ in range(3):
                queue.put(b"x" * 4)
            queue.flush()
        assert queue.dropped == 2

    @pytest.mark.parametrize("wrapped", [True, False])
    def test_a_batch_that_failed_is_let_go_without_a_garbage_collection(self, wrapped: bool) -> None:
        class Record:
            """Something that can be watched."""

        def send(batch: list[Any]) -> None:
            try:
                raise OSError("the sink is down")
            except OSError as error:
                kept = error  # a cycle: the exception has this frame, and the frame has it
            if wrapped:
                raise EntriesLost(1, "lost") from kept
            raise kept

        queue = BatchQueue("q", send, max_coalescing_delay=0, max_retry_time=0)
        gc.disable()
        try:
            record = Record()
            watched = weakref.ref(record)
            queue.put(record)
            del record
            queue.flush()
            assert watched() is None
        finally:
            gc.enable()

    def test_some_of_a_batch_may_be_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        def send(batch: list[Any]) -> None:
            raise EntriesLost(2, "two did not fit")

        told: list[int] = []
        queue = BatchQueue("q", send, lambda _, count: told.append(count), max_batch_size=5, max_coalescing_delay=60)
        for number in range(5):
            queue.put(number)
        queue.flush()
        assert (queue.sent, queue.dropped, told) == (3, 2, [2])
        assert "queue q: two did not fit. 2 queue entries were lost" in caplog.text

    def test_losses_are_reported_with_what_the_queue_is_called(self) -> None:
        told: list[tuple[str, int]] = []
        queue = BatchQueue(
            "q",
            Sink(10**6),
            lambda *loss: told.append(loss),
            label="[x]",
            max_batch_size=3,
            max_retry_time=0,
            max_entries=3,
        )
        for number in range(4):
            queue.put(number)
        queue.flush()
        assert told == [("[x]", 1), ("[x]", 3)]
        assert queue.dropped == 4

    def test_an_entry_alone_is_sent_at_once(self) -> None:
        sink = Sink()
        queue = BatchQueue("q", sink, concurrency_limit=-1, max_batch_size=10, max_coalescing_delay=60)
        queue.put("a")
        queue.put("b")
        gevent.sleep(0)
        assert sink.batches == [["a"], ["b"]]

    def test_a_batch_that_is_tried_again_holds_up_those_behind_it(self) -> None:
        sink = Sink(failures=3)
        queue = BatchQueue("q", sink, max_coalescing_delay=0, initial_retry_delay=0.001)
        for number in range(3):
            queue.put(number)
        queue.flush()
        assert sink.batches == [[0], [1], [2]]

    def test_a_drained_queue_starts_anew(self) -> None:
        sink = Sink()
        queue = BatchQueue("q", sink, max_coalescing_delay=0)
        for number in range(2):
            queue.put(number)
            queue.flush()
        assert sink.batches == [[0], [1]]
