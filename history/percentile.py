"""Percentiles of measured values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def percentile(ordered: Sequence[float] | NDArray[Any], percent: int) -> float | None:
    """By nearest rank: a value that was really measured; None of nothing. The values are in order."""
    return ordered[_rank(len(ordered), percent)] if len(ordered) else None


def percentiles(values: Iterable[float] | NDArray[np.float64], *percents: int) -> list[float | None]:
    """Several, of values in any order."""
    ordered = np.sort(values if isinstance(values, np.ndarray) else np.fromiter(values, np.float64))
    if not len(ordered):
        return [None] * len(percents)
    return [float(ordered[_rank(len(ordered), percent)]) for percent in percents]


def _rank(count: int, percent: int) -> int:
    return math.ceil(count * percent / 100) - 1
