"""Percentiles of measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """By nearest rank: a value that was really measured; None of nothing. The values are in order."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None
