"""Runs of items that are bounded in number and in bytes."""

import pytest

from kong_gevent.db.batches import grouped


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([], []),
        ([1], [[1]]),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([4, 7, 3], [[4], [7, 3]]),
        ([11, 1, 12], [[11], [1], [12]]),
    ],
)
def test_runs(sizes: list[int], runs: list[list[int]]) -> None:
    assert list(grouped(sizes, int, 3, 10)) == runs
