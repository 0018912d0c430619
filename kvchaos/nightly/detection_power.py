"""How likely the two stages are to find a step, and the smallest step they find at a given noise. Pure.

Pairs are taken as independent and normal within a night; `kvchaos nightly prove` tests both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import chi2

POWER = 0.8
"""Probability at which the smallest visible step is found on one night."""
RATIO_DIGITS = 3
"""Digits to which a ratio is rounded before its visible step is looked up."""
NODES = 200
"""Quantiles of the estimated deviation over which the power is averaged."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """Pairs and thresholds of the two stages."""

    screen_pairs: int = 6
    screen_p: float = 0.01
    confirm_pairs: int = 18
    confirm_p: float = 1e-4
    early_pairs: int = 8
    """The confirmation ends after so many pairs if they alone give `early_p`: a large step needs no more."""
    early_p: float = 1e-6

    def screen_floor(self, least_step: float) -> float:
        """The least mean of the screen that asks for a confirmation."""
        return least_step / 2


@dataclass(frozen=True, slots=True)
class PairNoise:
    """Sum of squared deviations of pairs from the mean of their stage, and its degrees of freedom."""

    squares: float = 0.0
    freedom: int = 0

    @classmethod
    def of(cls, slowdowns: Sequence[float]) -> Self:
        """Of the pairs of one stage of one night; nothing from fewer than two."""
        if len(slowdowns) < 2:
            return cls()
        values = np.asarray(slowdowns, np.float64)
        return cls(float(((values - values.mean()) ** 2).sum()), len(values) - 1)

    def plus(self, other: PairNoise) -> PairNoise:
        """Both together."""
        return PairNoise(self.squares + other.squares, self.freedom + other.freedom)

    @property
    def deviation(self) -> float:
        """Standard deviation of one pair; 0 where nothing is known."""
        return math.sqrt(self.squares / self.freedom) if self.freedom else 0.0


NO_NOISE = PairNoise()
"""Nothing is known of earlier nights."""


def power(step: float, deviation: float, least_step: float, plan: Procedure) -> float:
    """Probability that both stages find a true step on one night, in its direction."""
    screen = _stage_power(step, deviation, plan.screen_pairs, plan.screen_p, plan.screen_floor(least_step))
    return screen * _stage_power(step, deviation, plan.confirm_pairs, plan.confirm_p, least_step)


def visible_step(deviation: float, least_step: float, plan: Procedure) -> float:
    """The step that is found with a probability of 80 %, least step included."""
    if deviation <= 0.0:
        return least_step
    return deviation * _visible_ratio(round(least_step / deviation, RATIO_DIGITS), plan)


def noise_step(deviation: float, plan: Procedure) -> float:
    """The same with no least step: what the noise alone hides."""
    return deviation * _visible_ratio(0.0, plan)


@lru_cache(maxsize=4096)
def _visible_ratio(floor: float, plan: Procedure) -> float:
    """The visible step at a deviation of 1."""
    found: float = brentq(lambda step: power(step, 1.0, floor, plan) - POWER, 0.0, floor + 20.0)
    return found


def _stage_power(step: float, deviation: float, count: int, threshold: float, floor: float) -> float:
    """P(t beyond its threshold, and mean at or above the floor), averaged over the estimated deviation."""
    error = deviation / math.sqrt(count)
    critical = float(stdtrit(count - 1, 1 - threshold))
    needed = np.maximum(floor, critical * error * _estimated_deviations(count))
    return float(ndtr((step - needed) / error).mean())


@cache
def _estimated_deviations(count: int) -> npt.NDArray[np.float64]:
    """Equally likely values of the estimated deviation over the true one."""
    middles = (np.arange(NODES) + 0.5) / NODES
    estimated: npt.NDArray[np.float64] = np.sqrt(chi2.ppf(middles, count - 1) / (count - 1))
    return estimated
