"""The budget of a command that makes runs: a time, and where one is given a number of runs."""

from __future__ import annotations

import time
from collections.abc import Callable


class BudgetSpent(Exception):
    """There is no time for another run, or there were enough of them."""


class RunBudget:
    """Runs that may still be made; one starts only if one as long as the longest so far still fits."""

    def __init__(
        self,
        seconds: float,
        runs: int | None = None,
        longest_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`longest_s`: of the runs of an earlier session."""
        self._clock = clock
        self._end = clock() + seconds
        self._left = runs
        self._longest_s = longest_s

    def fits(self) -> bool:
        """Whether another run may start."""
        return self._left != 0 and self._clock() + self._longest_s < self._end

    def take(self) -> None:
        """Account for a run that is about to start. Raises BudgetSpent."""
        if not self.fits():
            raise BudgetSpent
        if self._left is not None:
            self._left -= 1

    def ended(self, seconds: float) -> None:
        """Note how long a run took."""
        self._longest_s = max(self._longest_s, seconds)

    def timed(self, make: Callable[[], object]) -> None:
        """Make a run, and note how long it took."""
        began = self._clock()
        make()
        self.ended(self._clock() - began)
