"""Resampled nights decide as `decide` does; rates, bounds and tests of independence are right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kvchaos.nightly.decision import decide
from kvchaos.nightly.detection_power import Procedure, power, visible_step
from kvchaos.nightly.proof.pair_independence import adjusted, neighbours, night_offsets
from kvchaos.nightly.proof.pair_resampling import (
    EqualPairs,
    alarm_counts,
    found_step,
    found_within,
    night_signs,
    rate_bound,
    share_bounds,
    units,
)

PLAN = Procedure()
LEAST = math.log(1.03)
NOISE = 0.02 * math.sqrt(2)


def test_resampled_nights_decide_as_single_nights_do() -> None:
    drawn = np.random.default_rng(1).normal(0.04, NOISE, (150, 24))
    drawn[75:] *= -1
    signs = night_signs(drawn[:, :6], drawn[:, 6:], LEAST, PLAN)
    words = {1: "regressed", -1: "improved"}
    for row, sign in zip(drawn.tolist(), signs.tolist(), strict=True):
        result = decide(row[:6], row[6:], LEAST, PLAN).result
        assert (result if result in words.values() else None) == words.get(sign)
    assert {1, 0, -1} == set(signs.tolist())


def test_alarm_rate_is_that_of_both_stages() -> None:
    loose = Procedure(screen_p=0.2, confirm_p=0.1)
    pool = np.random.default_rng(2).normal(0.0, NOISE, (5000, 2))
    counts = alarm_counts(EqualPairs(pool, [1e-9] * 2, [0.0] * 2), loose, 150_000, np.random.default_rng(3))
    # Each direction passes the screen and then the confirmation.
    assert [count / 150_000 for count in counts] == pytest.approx([0.04, 0.04], abs=0.003)


def test_series_with_a_larger_least_step_raises_fewer_alarms() -> None:
    loose = Procedure(screen_p=0.2, confirm_p=0.1)
    pool = np.random.default_rng(2).normal(0.0, NOISE, (5000, 1)).repeat(2, axis=1)
    equal = EqualPairs(pool, [0.001, 0.02], [0.0, 0.0])
    small, large = alarm_counts(equal, loose, 50_000, np.random.default_rng(3))
    assert 0 < large < small / 5


def test_offsets_of_nights_raise_more_alarms() -> None:
    pool = np.random.default_rng(2).normal(0.0, NOISE, (5000, 2))
    equal = EqualPairs(pool, [1e-9, 1e-9], [0.0, NOISE])
    without, with_offset = alarm_counts(equal, PLAN, 20_000, np.random.default_rng(3))
    assert without < 5
    assert with_offset > 500


def test_resampled_detection_has_the_power_that_is_stated() -> None:
    pool = np.random.default_rng(4).normal(math.log(1.05), NOISE, 5000)
    found = found_within(pool, LEAST, PLAN, 3000, 3, np.random.default_rng(5))
    stated = power(math.log(1.05), NOISE, LEAST, PLAN)
    assert found[:, 0].mean() == pytest.approx(stated, abs=0.03)
    assert found.any(axis=1).mean() == pytest.approx(1 - (1 - stated) ** 3, abs=0.01)


def test_found_step_is_the_visible_step_of_normal_pairs() -> None:
    pool = np.random.default_rng(6).normal(0.01, NOISE, 3000)
    step = found_step(pool, LEAST, PLAN, 4000, np.random.default_rng(7))
    assert step == pytest.approx(visible_step(NOISE, LEAST, PLAN), rel=0.03)


def test_units_keep_the_series_of_a_pair_together() -> None:
    nights = [{"a": [1.0, 2.0], "b": [10.0, 20.0]}, {"a": [3.0], "b": [30.0]}]
    assert units(nights, ["b", "a"]).tolist() == [[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]
    assert units([], ["a"]).shape == (0, 1)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    assert rate_bound(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60))
    assert share_bounds(0, 40) == pytest.approx((0.0, 1 - 0.025 ** (1 / 40)))
    assert (rate_bound(0, 0), share_bounds(0, 0)) == (1.0, (0.0, 1.0))


def independent_nights(seed: int, nights: int = 40, pairs: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, NOISE, (nights, pairs))


def test_independent_pairs_are_accepted_as_often_as_stated() -> None:
    ps = [neighbours(independent_nights(seed), 1).p for seed in range(30)]
    assert 0 <= sum(p < 0.05 for p in ps) <= 5
    assert np.mean([neighbours(independent_nights(seed), 1).correlation for seed in range(30)]) == (
        pytest.approx(0.0, abs=0.03)
    )


def test_drift_within_nights_is_found() -> None:
    drifting = independent_nights(1) + NOISE * np.linspace(-1, 1, 6) * np.resize([1, -1], 40)[:, None]
    found = neighbours(drifting, 1)
    assert found.p < 0.01
    assert found.correlation > 0.1


def test_offset_of_a_night_is_found_with_its_size() -> None:
    offsets = np.random.default_rng(8).normal(0.0, NOISE, (40, 1))
    found = night_offsets(independent_nights(2) + offsets)
    assert found.p < 0.001
    assert found.deviation_share == pytest.approx(1.0, abs=0.35)
    assert found.deviation == pytest.approx(NOISE, rel=0.35)
    assert night_offsets(independent_nights(2)).p > 0.05


def test_many_tests_need_a_smaller_p() -> None:
    assert adjusted([0.04, 0.5, 0.9])[0] == pytest.approx(0.12)
    assert adjusted([]) == []
