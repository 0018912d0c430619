"""A request that two workers send, or none, falsifies every count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.sharding import Share, share


def shares(first: int, requests: int, concurrency: int, workers: int) -> list[Share]:
    return [
        share(first=first, requests=requests, concurrency=concurrency, worker=worker, workers=workers)
        for worker in range(workers)
    ]


@given(
    first=st.integers(0, 10_000),
    requests=st.integers(1, 500),
    concurrency=st.integers(1, 200),
    workers=st.integers(1, 16),
)
def test_each_index_belongs_to_one_worker_that_has_users_for_it(
    first: int, requests: int, concurrency: int, workers: int
) -> None:
    parts = shares(first, requests, concurrency, workers)
    taken = sorted(index for part in parts for index in part.indices)
    assert taken == list(range(first, first + requests))
    assert sum(part.users for part in parts) == min(concurrency, requests)
    assert all(bool(part.users) == bool(part.indices) for part in parts)


def test_worker_k_takes_every_nth_index() -> None:
    parts = shares(first=100, requests=10, concurrency=7, workers=3)
    assert [list(part.indices) for part in parts] == [
        [100, 103, 106, 109],
        [101, 104, 107],
        [102, 105, 108],
    ]
    assert [part.users for part in parts] == [3, 2, 2]


def test_fewer_users_than_workers_leave_no_index_behind() -> None:
    parts = shares(first=0, requests=5, concurrency=1, workers=3)
    assert [list(part.indices) for part in parts] == [[0, 1, 2, 3, 4], [], []]
