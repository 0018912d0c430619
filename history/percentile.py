"""Percentiles of measured values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
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


class Quantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Median and 99th percentile of some times, ms; None when there are none."""

    median: float | None
    p99: float | None

    @classmethod
    def of(cls, values_ms: Iterable[float] | NDArray[np.float64]) -> Quantiles:
        return cls(*percentiles(values_ms, 50, 99))

    def __str__(self) -> str:
        return "-" if self.median is None or self.p99 is None else f"{self.median:.1f} / {self.p99:.1f}"


def _rank(count: int, percent: int) -> int:
    return math.ceil(count * percent / 100) - 1
