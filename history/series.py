"""One series of the metrics: when its value changed, and to what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scrapes = NDArray[np.uint32]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """One series: at which scrapes its value changed, in their order, and to what."""

    key: str
    metric: str
    labels: dict[str, str]
    at: Scrapes
    values: Values
    """As many as `at`; NaN also where the series vanished."""
    vanished: frozenset[int] = frozenset()
    """The scrapes at which it did."""

    def value(self, scrape: int) -> float | None:
        """The value at a scrape, None before the series appeared or after it vanished."""
        index = int(np.searchsorted(self.at, scrape, side="right")) - 1
        if index < 0 or int(self.at[index]) in self.vanished:
            return None
        return float(self.values[index])

    def present(self) -> tuple[Scrapes, Values]:
        """The changes without those at which the series vanished."""
        there = self._there()
        return self.at[there], self.values[there]

    def at_each(self, scrapes: int) -> tuple[Values, Flags]:
        """Of so many scrapes the value at each, and whether there is one; where there is none, NaN."""
        latest = np.zeros(scrapes, np.intp)
        latest[self.at] = np.arange(1, len(self.at) + 1)
        np.maximum.accumulate(latest, out=latest)
        return np.append(np.nan, self.values)[latest], np.append(False, self._there())[latest]

    def _there(self) -> Flags:
        if not self.vanished:
            return np.ones(len(self.at), np.bool_)
        return np.isin(self.at, list(self.vanished), invert=True)
