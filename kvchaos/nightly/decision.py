"""The decision about one series on one night, from the slowdowns of its pairs. Pure.

A slowdown is the logarithm of the candidate's figure over the control's, with the sign at which a positive
one means a slower candidate. Two stages have to agree before a series counts as regressed or improved: the
screen, and a confirmation with fresh pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from scipy.special import stdtr, stdtrit

from kvchaos.nightly.detection_power import NO_NOISE, PairNoise, Procedure, noise_step, visible_step

Result = Literal["regressed", "improved", "same", "blind"]
Reason = Literal["pairs missing", "confirmation missing", "noise", "not confirmed"]
"""Why a series is blind; or, of the same series, that fresh pairs did not confirm the step of the screen."""
INTERVAL = 0.95
"""Confidence of the interval that a decision states."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What one night shows of one series. Steps and slowdowns are logarithms of ratios."""

    result: Result
    slowdown: float | None = None
    """Mean over the pairs of the stage that decided, less the accepted slowdown; None: no pairs."""
    low: float | None = None
    """Bounds of the 95 % interval of the slowdown, by Student's t."""
    high: float | None = None
    screen_p: float | None = None
    """One-sided, in the direction of the mean."""
    confirm_p: float | None = None
    """None: the screen did not ask for a confirmation, or there was no time for one."""
    visible_step: float | None = None
    """The smallest step that this night would have confirmed with a probability of 80 %."""
    noise: float | None = None
    """Standard deviation of one pair, over this night and the earlier ones."""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class StageTest:
    """Student's one-sided test of some slowdowns, in the direction of their mean."""

    mean: float
    deviation: float
    """Standard deviation of one pair."""
    count: int
    p: float

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval."""
        quantile = float(stdtrit(self.count - 1, (1 + INTERVAL) / 2))
        return quantile * self.deviation / math.sqrt(self.count)


def stage_test(slowdowns: Sequence[float], accepted: float) -> StageTest:
    """Test against the accepted slowdown. Raises ValueError for fewer than two pairs."""
    count = len(slowdowns)
    if count < 2:
        raise ValueError("a test needs two pairs or more")
    values = np.asarray(slowdowns, np.float64) - accepted
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation == 0.0:
        return StageTest(mean, 0.0, count, 0.0 if mean else 0.5)
    t = abs(mean) / (deviation / math.sqrt(count))
    return StageTest(mean, deviation, count, float(stdtr(count - 1, -t)))


def needs_confirmation(screen: Sequence[float], least_step: float, accepted: float, plan: Procedure) -> bool:
    """Whether the screen saw a change that fresh pairs have to confirm."""
    if len(screen) < plan.screen_pairs:
        return False
    test = stage_test(screen, accepted)
    return test.p < plan.screen_p and abs(test.mean) >= plan.screen_floor(least_step)


def is_confirmed_early(
    screen: Sequence[float], confirm: Sequence[float], least_step: float, accepted: float, plan: Procedure
) -> bool:
    """Whether the first pairs of the confirmation are enough: they confirm the step at a far smaller p."""
    if len(confirm) < plan.early_pairs:
        return False
    first, early = stage_test(screen, accepted), stage_test(confirm[: plan.early_pairs], accepted)
    return early.p < plan.early_p and abs(early.mean) >= least_step and early.mean * first.mean > 0


def decide(
    screen: Sequence[float],
    confirm: Sequence[float],
    least_step: float,
    plan: Procedure,
    earlier: PairNoise = NO_NOISE,
    accepted: float = 0.0,
) -> Decision:
    """Decide about a series. `earlier`: its noise on earlier nights of the same identity."""
    if len(screen) < plan.screen_pairs:
        return Decision(result="blind", reason="pairs missing")
    noise = earlier.plus(PairNoise.of(screen)).plus(PairNoise.of(confirm)).deviation
    first = stage_test(screen, accepted)
    stated = Decision(
        result="same",
        screen_p=first.p,
        noise=noise,
        visible_step=visible_step(noise, least_step, plan),
    )
    stated = _with_interval(stated, first)
    hidden = noise_step(noise, plan) > least_step
    if not needs_confirmation(screen, least_step, accepted, plan):
        return replace(stated, result="blind", reason="noise") if hidden else stated
    if len(confirm) < plan.confirm_pairs:
        if not is_confirmed_early(screen, confirm, least_step, accepted, plan):
            return replace(stated, result="blind", reason="confirmation missing")
        confirm = confirm[: plan.early_pairs]
    fresh = stage_test(confirm, accepted)
    stated = replace(_with_interval(stated, fresh), confirm_p=fresh.p)
    if fresh.p < plan.confirm_p and abs(fresh.mean) >= least_step and fresh.mean * first.mean > 0:
        return replace(stated, result="regressed" if fresh.mean > 0 else "improved")
    return replace(
        stated, result="blind" if hidden else "same", reason="noise" if hidden else "not confirmed"
    )


def _with_interval(decision: Decision, test: StageTest) -> Decision:
    low, high = test.mean - test.half_width, test.mean + test.half_width
    return replace(decision, slowdown=test.mean, low=low, high=high)
