"""Bisection over builds: the first bad one is located through noise, or a reason is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from kvchaos.nightly.build_bisection import (
    BisectionRules,
    BuildUnusable,
    LocatedStep,
    Measure,
    locate,
    shows_step,
)

BUILDS = [f"build-{number}" for number in range(33)]
STEP = math.log(1.05)
PAIR_NOISE = 0.02 * math.sqrt(2)


def measuring(first_bad: int, noise: float = PAIR_NOISE, seed: int = 0, step: float = STEP) -> Measure:
    """Pairs of builds of which those from `first_bad` on are slow."""
    rng = np.random.default_rng(seed)

    def measure(control: str, candidate: str, pairs: int) -> list[float]:
        shows = BUILDS.index(control) < first_bad <= BUILDS.index(candidate)
        return [float(each) for each in rng.normal(step * shows, noise, pairs)]

    return measure


def without(unusable: str, measure: Measure) -> Measure:
    def failing(control: str, candidate: str, pairs: int) -> Sequence[float]:
        if unusable in (control, candidate):
            raise BuildUnusable(unusable, "no wheel")
        return measure(control, candidate, pairs)

    return failing


def lying_about(build: str, measure: Measure) -> Measure:
    """The first comparison of a build says the opposite."""
    first: Callable[[], bool] = iter([True, True, True, True]).__next__

    def measured(control: str, candidate: str, pairs: int) -> Sequence[float]:
        values = measure(control, candidate, pairs)
        try:
            wrong = candidate == build and first()
        except StopIteration:
            wrong = False
        return [STEP - value for value in values] if wrong else values

    return measured


@pytest.mark.parametrize("first_bad", [1, 2, 16, 17, 31, 32])
def test_first_bad_build_is_located_at_any_position(first_bad: int) -> None:
    found = locate(BUILDS, measuring(first_bad, noise=0.002), STEP)
    assert (found.first_bad, found.last_good) == (BUILDS[first_bad], BUILDS[first_bad - 1])
    assert found.reason == ""
    assert len(found.built) <= 6
    assert found.confidence > 0.99


def test_slow_build_is_located_in_95_percent_of_noisy_searches() -> None:
    rng = np.random.default_rng(11)
    found: list[tuple[int, LocatedStep]] = []
    for trial in range(60):
        first_bad = int(rng.integers(1, 33))
        stated = float(rng.normal(STEP, PAIR_NOISE, 18).mean())
        found.append((first_bad, locate(BUILDS, measuring(first_bad, seed=trial), stated)))
    assert sum(one.first_bad == BUILDS[first_bad] for first_bad, one in found) >= 57
    assert max(len(one.built) for _, one in found) <= 6
    assert max(len(each.slowdowns) for _, one in found for each in one.compared) <= 3 * 24


def test_improvement_is_located_like_a_regression() -> None:
    found = locate(BUILDS, measuring(9, noise=0.004, step=-STEP), -STEP)
    assert found.first_bad == BUILDS[9]


def test_clear_comparison_ends_after_one_block() -> None:
    found = locate(BUILDS, measuring(9, noise=0.002), STEP)
    assert {len(each.slowdowns) for each in found.compared} == {6}


def test_last_good_and_first_bad_are_compared_directly() -> None:
    found = locate(BUILDS, measuring(9, noise=0.002), STEP)
    assert (BUILDS[8], BUILDS[9]) in {(each.control, each.candidate) for each in found.compared}


@pytest.mark.parametrize("seed", range(3))
def test_wrong_comparison_is_corrected_by_later_ones(seed: int) -> None:
    measure = lying_about(BUILDS[16], measuring(9, seed=seed))
    found = locate(BUILDS, measure, STEP, BisectionRules(spare_builds=6))
    assert found.first_bad == BUILDS[9]


@pytest.mark.parametrize("seed", range(3))
def test_wrong_comparison_without_spare_builds_names_no_build(seed: int) -> None:
    found = locate(BUILDS, lying_about(BUILDS[16], measuring(9, seed=seed)), STEP)
    assert found.first_bad is None
    assert found.reason


def test_step_that_is_gone_is_not_located() -> None:
    found = locate(BUILDS, measuring(99), STEP)
    assert found.first_bad is None
    assert found.reason
    assert (found.last_good, found.last_bad) == (BUILDS[0], BUILDS[32])
    assert found.built == []


def test_unusable_build_away_from_the_step_is_skipped() -> None:
    found = locate(BUILDS, without(BUILDS[16], measuring(5, noise=0.002)), STEP)
    assert found.first_bad == BUILDS[5]
    assert BUILDS[16] not in found.built


def test_step_next_to_an_unusable_build_gives_a_range() -> None:
    found = locate(BUILDS, without(BUILDS[16], measuring(16, noise=0.002)), STEP)
    assert found.first_bad is None
    assert (found.last_good, found.last_bad) == (BUILDS[15], BUILDS[17])
    assert found.reason


def test_unusable_end_of_the_range_is_an_error() -> None:
    with pytest.raises(BuildUnusable):
        locate(BUILDS, without(BUILDS[32], measuring(5)), STEP)


def test_two_builds_need_no_further_one() -> None:
    found = locate(BUILDS[:2], measuring(1, noise=0.002), STEP)
    assert (found.first_bad, found.built) == (BUILDS[1], [])


@pytest.mark.parametrize(("builds", "step"), [(BUILDS[:1], STEP), (BUILDS, 0.0)])
def test_search_without_a_range_or_a_step_is_an_error(builds: list[str], step: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        locate(builds, measuring(1), step)


def test_most_builds_grow_with_the_logarithm_of_the_range() -> None:
    assert [BisectionRules().max_builds(count) for count in (1, 2, 32, 33)] == [0, 2, 6, 7]


def test_equal_pairs_are_as_sure_as_any_comparison_can_be() -> None:
    assert shows_step([0.05] * 6, 0.05) == pytest.approx(1.0, abs=1e-8)
    assert shows_step([0.0] * 6, 0.05) == pytest.approx(0.0, abs=1e-8)
    assert shows_step([-0.05] * 6, -0.05) == pytest.approx(1.0, abs=1e-8)
