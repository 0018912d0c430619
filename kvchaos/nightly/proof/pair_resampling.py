"""Nights made of stored pairs: drawn at random, with replacement, each pair of runs as a unit. Pure.

A unit has the slowdowns of all series of one pair, so series of one night depend on each other as they did.
Pairs of a night are drawn independently; `pair_independence` tests whether that is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import binomtest, ttest_1samp

from kvchaos.nightly.detection_power import POWER, Procedure

Floats = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]
"""1: regressed, -1: improved, 0: neither."""
CHUNK = 100_000
"""Nights that are drawn at a time."""
CONFIDENCE = 0.95
HIGHEST_STEP = 1.0


@dataclass(frozen=True, slots=True)
class EqualPairs:
    """Pairs of equal builds, and what holds for each series."""

    pairs: Floats
    """[units, series]."""
    least_steps: Sequence[float]
    offsets: Sequence[float]
    """Standard deviation of an offset that all pairs of a night share."""


def stage_signs(slowdowns: Floats, p: float, floor: float | Floats) -> Signs:
    """The direction in which one stage passes, as `decision` tests it. Slowdowns: [..., pairs]."""
    count = slowdowns.shape[-1]
    mean = slowdowns.mean(axis=-1)
    error = slowdowns.std(axis=-1, ddof=1) / math.sqrt(count)
    passes = (np.abs(mean) > float(stdtrit(count - 1, 1 - p)) * error) & (np.abs(mean) >= floor)
    return np.where(passes, np.sign(mean), 0).astype(np.int8)


def night_signs(screen: Floats, confirm: Floats, least_step: float, plan: Procedure) -> Signs:
    """What nights decide. Screen and confirm: [..., pairs] of each stage."""
    first = stage_signs(screen, plan.screen_p, plan.screen_floor(least_step))
    second = stage_signs(confirm, plan.confirm_p, least_step)
    return np.where(first == second, first, 0).astype(np.int8)


def drawn_nights(pool: Floats, nights: int, pairs: int, rng: np.random.Generator) -> Floats:
    """Draw nights: [nights, pairs, ...] of a pool [units, ...]."""
    return pool[rng.integers(0, len(pool), (nights, pairs))]


def alarm_counts(pool: EqualPairs, plan: Procedure, nights: int, rng: np.random.Generator) -> list[int]:
    """Alarms of each series on so many nights drawn from pairs of equal builds.

    The sides of each drawn pair are swapped at random, since either of two equal builds may be the candidate.
    Confirmation pairs are drawn for the nights that need them alone.
    """
    least_steps = np.array(pool.least_steps)
    floors = np.array([plan.screen_floor(step) for step in pool.least_steps])
    counts = np.zeros(len(least_steps), np.int64)
    for begin in range(0, nights, CHUNK):
        count = min(CHUNK, nights - begin)
        offsets = rng.normal(0.0, 1.0, (count, 1, len(least_steps))) * np.array(pool.offsets)
        screen = _swapped_nights(pool.pairs, count, plan.screen_pairs, rng) + offsets
        first = stage_signs(np.moveaxis(screen, 1, -1), plan.screen_p, floors)
        going_on = first.any(axis=1)
        confirm = (
            _swapped_nights(pool.pairs, int(going_on.sum()), plan.confirm_pairs, rng) + offsets[going_on]
        )
        second = stage_signs(np.moveaxis(confirm, 1, -1), plan.confirm_p, least_steps)
        counts += ((first[going_on] == second) & (second != 0)).sum(axis=0)
    return [int(count) for count in counts]


def _swapped_nights(pool: Floats, nights: int, pairs: int, rng: np.random.Generator) -> Floats:
    """Nights of pairs whose sides are swapped at random, those of all series of a pair together."""
    swapped: Floats = drawn_nights(pool, nights, pairs, rng) * rng.choice((-1.0, 1.0), (nights, pairs, 1))
    return swapped


def found_within(
    pool: Floats, least_step: float, plan: Procedure, trials: int, nights: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which of some nights in a row found the step of a pool of delayed pairs [units]: [trials, nights]."""
    pairs = plan.screen_pairs + plan.confirm_pairs
    drawn = drawn_nights(pool, trials * nights, pairs, rng)
    signs = night_signs(drawn[:, : plan.screen_pairs], drawn[:, plan.screen_pairs :], least_step, plan)
    return signs.reshape(trials, nights) > 0


def found_step(
    pool: Floats, least_step: float, plan: Procedure, nights: int, rng: np.random.Generator
) -> float:
    """The step that 80 % of nights find when it is added to pairs of equal builds [units].

    The mean of the pool is taken off, since the step is the whole difference.
    """
    pairs = plan.screen_pairs + plan.confirm_pairs
    drawn = drawn_nights(pool - pool.mean(), nights, pairs, rng)
    screen, confirm = drawn[:, : plan.screen_pairs], drawn[:, plan.screen_pairs :]

    def missing(step: float) -> float:
        found = night_signs(screen + step, confirm + step, least_step, plan) > 0
        return float(found.mean()) - POWER

    step: float = brentq(missing, 0.0, HIGHEST_STEP, xtol=1e-5)
    return step


def bias_p(slowdowns: Floats) -> float:
    """The two-sided p that pairs of equal builds [units] have no mean slowdown, by Student's t."""
    return float(ttest_1samp(slowdowns, 0.0).pvalue)


def share_bounds(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Clopper and Pearson; 0 to 1 of nothing."""
    if not total:
        return 0.0, 1.0
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, "exact")
    return float(interval.low), float(interval.high)


def rate_bound(count: int, total: int) -> float:
    """The one-sided 95 % upper bound of a rate by Clopper and Pearson; 1 of nothing."""
    if not total:
        return 1.0
    return float(binomtest(count, total, alternative="less").proportion_ci(CONFIDENCE, "exact").high)


def units(nights: Sequence[Mapping[str, list[float]]], series: Sequence[str]) -> Floats:
    """Pairs of all nights, one after the other: [units, series]."""
    rows = [np.array([night[name] for name in series], np.float64).T for night in nights]
    return np.concatenate(rows) if rows else np.empty((0, len(series)))
