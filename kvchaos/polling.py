"""Wait for a condition by polling it, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll(read: Callable[[], T], accept: Callable[[T], bool], timeout_s: float, period_s: float) -> T:
    """Read a value every `period_s` until it is accepted, or until `timeout_s` is over; return the last one.

    It is read at least once. An error of `read` ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    while not accept(value := read()) and time.monotonic() < deadline:
        time.sleep(period_s)
    return value


def wait_until(condition: Callable[[], bool], timeout_s: float, period_s: float) -> bool:
    """Check a condition every `period_s`; return whether it became true within `timeout_s`."""
    return poll(condition, bool, timeout_s, period_s)
