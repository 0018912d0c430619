"""Polling: the last value read is returned, the deadline holds, and an error ends the wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kvchaos.polling import poll, wait_until


def test_polling_ends_with_the_first_accepted_value() -> None:
    values: Iterator[int] = iter(range(10))
    assert poll(lambda: next(values), lambda value: value == 3, 60.0, 0.0) == 3
    assert next(values) == 4


def test_polling_returns_the_last_value_at_the_deadline() -> None:
    began = time.monotonic()
    assert poll(lambda: 1, lambda value: value == 2, 0.05, 0.01) == 1
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_value_is_read_once_without_any_time(timeout_s: float) -> None:
    values: Iterator[bool] = iter([True, False])
    assert wait_until(lambda: next(values), timeout_s, 60.0)


def test_condition_that_stays_false_is_false_at_the_deadline() -> None:
    assert not wait_until(lambda: False, 0.02, 0.01)


def test_error_while_polling_ends_the_wait() -> None:
    with pytest.raises(StopIteration):
        wait_until(lambda: next(iter(())), 60.0, 0.0)
