"""The node's metrics: lanes, what survives a worker, what a reader sees, and the text format."""

import pytest

from kong_gevent.runtime.metrics import MetricMemory, WorkerMetrics


@pytest.fixture
def memory() -> MetricMemory:
    return MetricMemory(3, 1 << 16)


def text(metrics: WorkerMetrics) -> list[str]:
    return b"".join(metrics.exposition()).decode().splitlines()


def test_numbers_of_all_lanes_are_added_up(memory: MetricMemory) -> None:
    first, second = WorkerMetrics(memory, 0), WorkerMetrics(memory, 2)
    for metrics, amounts in ((first, (1, 2)), (second, (10, 20))):
        cell = metrics.counter("hits", "Hits", "who")
        cell("a").add(amounts[0])
        cell("b").add(amounts[1])
    second.counter("hits", "Hits", "who")("c").add()
    expected = ["# HELP hits Hits", "# TYPE hits counter", 'hits{who="a"} 11', 'hits{who="b"} 22', 'hits{who="c"} 1']
    assert text(first) == expected
    assert text(second) == expected
    first.counter("hits", "Hits", "who")("d").add(5)
    assert 'hits{who="d"} 5' in text(second)


def test_a_worker_goes_on_where_the_one_before_it_ended(memory: MetricMemory) -> None:
    WorkerMetrics(memory, 1).counter("hits", "Hits", "who")("a").add(3)
    later = WorkerMetrics(memory, 1)
    later.counter("hits", "Hits", "who")("a").add(4)
    assert text(later)[-1] == 'hits{who="a"} 7'


def test_histograms(memory: MetricMemory) -> None:
    metrics = WorkerMetrics(memory, 0)
    observer = metrics.histogram("ms", "Time", (1, 2.5, 10), "who")("x")
    for value in (0.5, 1, 2, 10.5, 7):
        observer.observe(value)
    assert text(metrics)[2:] == [
        'ms_bucket{who="x",le="1"} 2',
        'ms_bucket{who="x",le="2.5"} 3',
        'ms_bucket{who="x",le="10"} 4',
        'ms_bucket{who="x",le="+Inf"} 5',
        'ms_count{who="x"} 5',
        'ms_sum{who="x"} 21',
    ]


def test_labels_are_escaped(memory: MetricMemory) -> None:
    metrics = WorkerMetrics(memory, 0)
    metrics.counter("hits", "Hits", "who")('a"b\\c\nd').add()
    assert text(metrics)[-1] == r'hits{who="a\"b\\c\nd"} 1'


def test_gauges_are_asked_when_somebody_reads(memory: MetricMemory) -> None:
    metrics = WorkerMetrics(memory, 0)
    values = [1.0]
    metrics.gauge("up", "Up", (), lambda: [((), values[0])])
    metrics.gauge("of", "Of", ("a",), lambda: [(("x",), 2.5)])
    assert text(metrics) == [
        "# HELP up Up",
        "# TYPE up gauge",
        "up 1",
        "# HELP of Of",
        "# TYPE of gauge",
        'of{a="x"} 2.5',
    ]
    values[0] = 0
    assert text(metrics)[2] == "up 0"


def test_what_there_is_no_room_for_is_counted(memory: MetricMemory) -> None:
    small = WorkerMetrics(MetricMemory(1, 1 << 12), 0)
    small.count_errors("errors", "Errors")
    cell = small.counter("hits", "Hits", "who")
    for number in range(1000):
        cell(f"client {number}").add()
    shown = text(small)
    counted = sum(line.startswith("hits{") for line in shown)
    assert 10 < counted < 1000
    assert f"errors {1000 - counted}" in shown
    assert all(line.endswith(" 1") for line in shown if line.startswith("hits{"))
