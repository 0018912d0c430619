"""A night's decision: two stages have to agree, noise is stated, and accepted steps stay quiet."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kvchaos.nightly.decision import Decision, decide, is_confirmed_early, needs_confirmation
from kvchaos.nightly.detection_power import PairNoise, Procedure, noise_step, power, visible_step

PLAN = Procedure()
LEAST = math.log(1.03)
QUIET = [0.001, -0.001, 0.0005, -0.0005, 0.0008, -0.0008]


def shifted(step: float, count: int = 6, deviation: float = 0.002, seed: int = 0) -> list[float]:
    return [float(each) for each in np.random.default_rng(seed).normal(step, deviation, count)]


def test_step_found_by_both_stages_is_regressed() -> None:
    found = decide(shifted(0.05), shifted(0.05, 18, seed=1), LEAST, PLAN)
    assert found.result == "regressed"
    assert found.slowdown == pytest.approx(0.05, abs=0.002)
    assert found.screen_p is not None
    assert found.screen_p < PLAN.screen_p
    assert found.confirm_p is not None
    assert found.confirm_p < PLAN.confirm_p


def test_faster_candidate_is_improved() -> None:
    assert decide(shifted(-0.05), shifted(-0.05, 18, seed=1), LEAST, PLAN).result == "improved"


def test_screen_that_fresh_pairs_do_not_confirm_raises_no_alarm() -> None:
    found = decide(shifted(0.05), shifted(0.0, 18, seed=1), LEAST, PLAN)
    assert found.result == "same"
    assert found.reason == "not confirmed"


def test_stages_that_disagree_in_direction_raise_no_alarm() -> None:
    assert decide(shifted(0.05), shifted(-0.05, 18, seed=1), LEAST, PLAN).result == "same"


def test_confirmed_step_below_the_least_step_raises_no_alarm() -> None:
    found = decide(shifted(0.02), shifted(0.02, 18, seed=1), LEAST, PLAN)
    assert found.result == "same"
    assert found.confirm_p is not None
    assert found.confirm_p < PLAN.confirm_p


def test_accepted_step_is_the_new_level() -> None:
    slowdowns = shifted(0.05)
    assert needs_confirmation(slowdowns, LEAST, 0.0, PLAN)
    assert not needs_confirmation(slowdowns, LEAST, 0.05, PLAN)
    assert decide(slowdowns, [], LEAST, PLAN, accepted=0.05).result == "same"


def test_missing_pairs_are_blind_not_same() -> None:
    assert decide(QUIET[:5], [], LEAST, PLAN) == Decision(result="blind", reason="pairs missing")
    found = decide(shifted(0.05), shifted(0.05, 17, deviation=0.02), LEAST, PLAN)
    assert (found.result, found.reason) == ("blind", "confirmation missing")


LARGE = 0.5


def test_large_step_is_confirmed_by_the_first_pairs_of_the_confirmation() -> None:
    pairs = shifted(LARGE, PLAN.early_pairs, deviation=0.05, seed=1)
    assert decide(shifted(LARGE), pairs, LEAST, PLAN).result == "regressed"
    assert decide(shifted(LARGE), pairs[:-1], LEAST, PLAN).reason == "confirmation missing"
    assert decide(shifted(-LARGE), shifted(-LARGE, 8, seed=1), LEAST, PLAN).result == "improved"


def test_pairs_after_the_first_ones_do_not_end_a_confirmation_early() -> None:
    noisy = shifted(LARGE, PLAN.early_pairs, deviation=1.0, seed=1)
    more = shifted(LARGE, 9, deviation=0.01, seed=2)
    assert decide(shifted(LARGE), [*noisy, *more], LEAST, PLAN).reason == "confirmation missing"


@pytest.mark.parametrize("step", [-LARGE, 0.02], ids=["other direction", "below the least step"])
def test_first_pairs_confirm_no_other_step_than_that_of_the_screen(step: float) -> None:
    pairs = shifted(step, PLAN.early_pairs, deviation=0.0005, seed=1)
    assert decide(shifted(LARGE), pairs, LEAST, PLAN).reason == "confirmation missing"


def test_equal_builds_end_a_confirmation_early_as_rarely_as_stated() -> None:
    plan = Procedure(early_p=0.01)
    draws = np.random.default_rng(9).normal(0.0, 0.02, (20_000, plan.early_pairs))
    passed = sum(is_confirmed_early(shifted(LARGE), list(row), 1e-6, 0.0, plan) for row in draws) / len(draws)
    assert passed == pytest.approx(plan.early_p, abs=0.002)


def test_noise_that_hides_the_least_step_is_blind() -> None:
    noisy = [0.05, -0.05, 0.04, -0.04, 0.03, -0.03]
    found = decide(noisy, [], LEAST, PLAN)
    assert found.result == "blind"
    assert found.reason == "noise"
    assert found.visible_step is not None
    assert found.visible_step > LEAST


def test_noise_of_earlier_nights_counts() -> None:
    calm = PairNoise(squares=200 * 0.001**2, freedom=200)
    wild = PairNoise(squares=200 * 0.05**2, freedom=200)
    assert decide(QUIET, [], LEAST, PLAN, calm).result == "same"
    assert decide(QUIET, [], LEAST, PLAN, wild).result == "blind"


def test_equal_pairs_do_not_divide_by_zero() -> None:
    assert decide([0.0] * 6, [], LEAST, PLAN).result == "same"
    assert decide([0.05] * 6, [0.05] * 18, LEAST, PLAN).result == "regressed"


@pytest.mark.parametrize(("deviation", "step"), [(0.0283, 0.0488), (0.0424, 0.0953)])
def test_stated_power_is_the_share_that_simulation_finds(deviation: float, step: float) -> None:
    draws = np.random.default_rng(5).normal(step, deviation, (1500, 24))
    found = sum(
        decide(list(row[:6]), list(row[6:]), LEAST, PLAN).result == "regressed" for row in draws
    ) / len(draws)
    assert found == pytest.approx(power(step, deviation, LEAST, PLAN), abs=0.04)


def test_visible_step_is_found_with_a_probability_of_80_percent() -> None:
    for deviation in (0.005, 0.02, 0.05):
        step = visible_step(deviation, LEAST, PLAN)
        assert power(step, deviation, LEAST, PLAN) == pytest.approx(0.8, abs=0.01)
        assert step >= noise_step(deviation, PLAN) - 1e-9


def test_equal_builds_pass_the_screen_as_rarely_as_stated() -> None:
    draws = np.random.default_rng(7).normal(0.0, 0.02, (20_000, 6))
    passed = sum(needs_confirmation(list(row), 1e-6, 0.0, PLAN) for row in draws) / len(draws)
    assert passed == pytest.approx(2 * PLAN.screen_p, abs=0.004)
