"""How long an event loop kept others waiting, from what its samples tell."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

EVERY_US = 20_000
"""A load worker asks its event loop so often to be woken, and notes how much too late that was."""
US_PER_MS = 1e3


def waits_ms(lags_us: Iterable[int]) -> NDArray[np.float64]:
    """How long those waited that wanted the loop at every moment of the time, one each `EVERY_US`.

    A pause leaves one sample, however long it was: nobody samples meanwhile. Those who would have come
    during it are added, each with what was left of it.
    """
    lags = np.fromiter(lags_us, np.float64)
    missed = [np.arange(lag - EVERY_US, 0, -EVERY_US) for lag in lags[lags > EVERY_US]]
    return np.concatenate([lags, *missed]) / US_PER_MS
