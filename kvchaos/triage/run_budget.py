"""The budget of a triage: a number of runs and a time."""

from __future__ import annotations

import time
from collections.abc import Callable


class BudgetSpent(Exception):
    """There is no time for another run, or there were enough of them."""


class RunBudget:
    """Runs that may still be made; one starts only if one as long as the longest so far still fits."""

    def __init__(
        self, seconds: float, runs: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._left = runs
        self._longest_s = 0.0

    def take(self) -> None:
        """Account for a run that is about to start. Raises BudgetSpent."""
        if self._left == 0 or self._clock() + self._longest_s >= self._end:
            raise BudgetSpent
        if self._left is not None:
            self._left -= 1

    def ended(self, seconds: float) -> None:
        """Note how long a run took."""
        self._longest_s = max(self._longest_s, seconds)
