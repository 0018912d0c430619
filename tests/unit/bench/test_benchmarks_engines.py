"""The compared engines: their build order must be balanced, and the end of their process must be an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from benchmarks.idle_cost.engine_lives import BUILD_ORDERS
from benchmarks.idle_cost.remote_calls import ServerEnded, call, serve


@pytest.mark.parametrize("other", ["control", "module"])
def test_each_engine_of_a_pair_is_built_first_once(other: str) -> None:
    orders = [order for order in BUILD_ORDERS if other in order]
    assert sorted(order.index(other) for order in orders) == [0, 1]
    assert all("plain" in order for order in orders)


class Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int) -> int:
        self.total += count
        return self.total


@pytest.fixture
def connection() -> Iterator[Connection]:
    ours, theirs = Pipe()
    thread = threading.Thread(target=serve, args=(theirs, Counter()), daemon=True)
    thread.start()
    yield ours
    ours.close()
    thread.join(10)
    assert not thread.is_alive()


def test_calls_reach_one_and_the_same_object(connection: Connection) -> None:
    assert [call(connection, "add", count) for count in (1, 2)] == [1, 3]


def test_end_of_the_other_process_is_an_error_and_no_answer() -> None:
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(ServerEnded, match="add"):
        call(ours, "add", 1)
