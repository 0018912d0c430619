"""Tests of what the decision and the resampling assume: pairs of a night are independent. Pure.

Two kinds of dependence matter. Neighbouring pairs may be alike, by a slow drift of the machine. And all
pairs of one night may share an offset, by the start of the servers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import f_oneway, false_discovery_control, permutation_test

Floats = npt.NDArray[np.float64]
RESAMPLES = 1999
"""Orders of the pairs that are tried."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How alike neighbouring pairs of a night are."""

    correlation: float
    """At lag 1, within nights, freed of the bias by the mean of each night."""
    p: float
    """Two-sided: twice the share of orders whose correlation is as far on its side."""


@dataclass(frozen=True, slots=True)
class NightOffsets:
    """How far the means of nights differ beyond what pairs within nights explain."""

    deviation: float
    """Estimated standard deviation of the offsets; 0: none."""
    deviation_share: float
    """The same over that of one pair."""
    p: float
    """Of the one-way analysis of variance."""


def neighbours(nights: Floats, seed: int) -> Neighbours:
    """The lag-1 autocorrelation of nights [nights, pairs], and its test by permutation of the pairs.

    Under independence every order of the pairs of a night is equally likely.
    """
    count = nights.shape[1]
    centred = nights - nights.mean(axis=1, keepdims=True)
    tested = permutation_test(
        tuple(centred),
        _adjacent_products,
        permutation_type="pairings",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    variance = float((centred**2).mean())
    return Neighbours(float(tested.statistic) / variance + 1 / (count - 1), float(tested.pvalue))


def _adjacent_products(*nights: Floats, axis: int) -> Floats:
    """Mean product of neighbouring pairs over all nights, each with its pairs along the axis."""
    total = sum(
        (
            np.take(night, range(night.shape[axis] - 1), axis)
            * np.take(night, range(1, night.shape[axis]), axis)
        ).mean(axis=axis)
        for night in nights
    )
    products: Floats = np.asarray(total) / len(nights)
    return products


def night_offsets(nights: Floats) -> NightOffsets:
    """Means of nights [nights, pairs] against the spread within them."""
    count = nights.shape[1]
    tested = f_oneway(*nights)
    within = float(nights.var(axis=1, ddof=1).mean())
    between = float(nights.mean(axis=1).var(ddof=1)) - within / count
    deviation = float(np.sqrt(max(between, 0.0)))
    return NightOffsets(deviation, deviation / float(np.sqrt(within)), float(tested.pvalue))


def adjusted(ps: list[float]) -> list[float]:
    """The p values of several tests, by Benjamini and Hochberg."""
    return [float(each) for each in false_discovery_control(ps)] if ps else []
