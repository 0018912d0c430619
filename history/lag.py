"""How long an event loop kept others waiting, from what its samples tell."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

EVERY_US = 20_000
"""A load worker asks its event loop so often to be woken, and notes how much too late that was."""
LONGEST_US = 3_600_000_000
"""A damaged record may tell of years; those who would have come in an hour are enough to show any pause."""
US_PER_MS = 1e3


def waits_ms(lags_us: Iterable[int]) -> NDArray[np.float64]:
    """How long those waited that wanted the loop at every moment of the time, one each `EVERY_US`.

    A pause leaves one sample, however long it was: nobody samples meanwhile. Those who would have come
    during it are added, each with what was left of it.
    """
    lags = np.fromiter(lags_us, np.float64)
    pauses = np.minimum(lags[lags > EVERY_US], LONGEST_US)
    missed = [np.arange(pause - EVERY_US, 0, -EVERY_US) for pause in pauses]
    return np.concatenate([lags, *missed]) / US_PER_MS
