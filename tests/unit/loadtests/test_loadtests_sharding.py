"""A conversation that two workers send, or none, falsifies every count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrival_schedule import Share, share


def shares(first: int, conversations: int, concurrency: int, workers: int) -> list[Share]:
    return [
        share(
            first=first, conversations=conversations, concurrency=concurrency, worker=worker, workers=workers
        )
        for worker in range(workers)
    ]


@given(
    first=st.integers(0, 10_000),
    conversations=st.integers(1, 500),
    concurrency=st.integers(1, 200),
    workers=st.integers(1, 16),
)
def test_each_request_number_belongs_to_one_worker_with_users(
    first: int, conversations: int, concurrency: int, workers: int
) -> None:
    parts = shares(first, conversations, concurrency, workers)
    taken = sorted(number for part in parts for number in part.numbers)
    assert taken == list(range(first, first + conversations))
    assert sum(part.users for part in parts) == min(concurrency, conversations)
    assert all(bool(part.users) == bool(part.numbers) for part in parts)


def test_worker_k_of_n_takes_every_nth_request() -> None:
    parts = shares(first=100, conversations=10, concurrency=7, workers=3)
    assert [list(part.numbers) for part in parts] == [
        [100, 103, 106, 109],
        [101, 104, 107],
        [102, 105, 108],
    ]
    assert [part.users for part in parts] == [3, 2, 2]


def test_fewer_users_than_workers_still_cover_all_request_numbers() -> None:
    parts = shares(first=0, conversations=5, concurrency=1, workers=3)
    assert [list(part.numbers) for part in parts] == [[0, 1, 2, 3, 4], [], []]
