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


def test_numbers_can_be_counted_without_their_cells(memory: MetricMemory) -> None:
    metrics = WorkerMetrics(memory, 0)
    hits, octets = metrics.counter("hits", "Hits", "who"), metrics.counter("octets", "Octets", "who")
    places = [(hits(name).at, octets(name).at) for name in ("a", "b")]
    for at, (one, other) in enumerate(places, 1):
        metrics.numbers[one] += at
        metrics.numbers[other] += 100 * at
    hits("a").add(10)
    shown = text(metrics)
    assert [line for line in shown if line[0] != "#"] == [
        'hits{who="a"} 11',
        'hits{who="b"} 2',
        'octets{who="a"} 100',
        'octets{who="b"} 200',
    ]
    assert [abs(one - other) for one, other in places] == [1, 1], "what is counted together does not lie together"


def test_numbers_without_room_are_seen_by_nobody() -> None:
    """Neither in the place of others nor as somebody's text: what is there already stays as it is."""
    small = WorkerMetrics(MetricMemory(1, 1 << 12), 0)
    cell, observer = small.counter("hits", "Hits", "who"), small.histogram("ms", "Time", tuple(range(1, 50)), "who")
    first = cell("first")
    first.add()
    places = [cell(f"client {number}").at for number in range(100)]
    late = observer("late")
    before = text(small)
    assert places.count(places[-1]) > 1
    small.numbers[places[-1]] += 7
    for value in (0.5, 48.5, 1e6):
        late.observe(value)
    assert text(small) == before
    later = WorkerMetrics(small._memory, 0)
    assert text(later)[1:] == [], "another worker's families are its own"
    later.counter("hits", "Hits", "who")("first").add()
    assert 'hits{who="first"} 2' in text(later)


def test_a_series_that_was_not_finished_is_no_series(memory: MetricMemory) -> None:
    """A worker that dies while it makes room leaves nothing that others would read or stumble over."""
    metrics = WorkerMetrics(memory, 0)
    cell = metrics.counter("hits", "Hits", "who")
    cell("a").add(2)
    used = metrics.numbers[0]
    cell("b").add(5)
    metrics.numbers[0] = used  # as if it had been killed before this last step
    later = WorkerMetrics(memory, 0)
    later.counter("hits", "Hits", "who")("a").add(1)
    assert [line for line in text(later) if line[0] != "#"] == ['hits{who="a"} 3']


def test_a_histogram_has_so_many_bounds_at_most(memory: MetricMemory) -> None:
    with pytest.raises(ValueError, match="more than 62 bounds"):
        WorkerMetrics(memory, 0).histogram("ms", "Time", tuple(range(63)))
