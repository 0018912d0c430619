"""How sure a median is: its spread when what was measured is drawn again and again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_REPEATS = 6
"""With fewer values the bounds are about the range, and cover the true median less often than CONFIDENCE."""


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The median of some values and its bounds by bootstrap."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Raises ValueError without values."""
        if not values:
            raise ValueError("nothing was measured")
        array = np.array(values, np.float64)
        draws = np.random.RandomState(0).randint(0, len(array), (RESAMPLES, len(array)))
        medians = np.median(array[draws], axis=1)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(medians, (tail, 1 - tail))
        return cls(float(np.median(array)), float(low), float(high), len(array))

    @property
    def is_reliable(self) -> bool:
        """Whether there are enough values for the bounds to be what they are called."""
        return self.count >= MIN_REPEATS
