"""Rates of failures: intervals, the runs that they need, and the rules that accept a scenario."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from kvchaos.triage.occurrence_rate import (
    ALWAYS_RULE,
    MAX_TRIES,
    MISS,
    AcceptanceRule,
    OccurrenceRate,
    quick_rule,
    thorough_rule,
    tries_for,
)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999])
def test_runs_miss_a_failure_of_the_rate_with_at_most_one_percent(rate: float) -> None:
    tries = tries_for(rate)
    assert binom.pmf(0, tries, rate) <= MISS * (1 + 1e-6)
    assert tries == 1 or binom.pmf(0, tries - 1, rate) > MISS


def test_certain_failure_takes_one_run() -> None:
    assert tries_for(1.0) == 1


def test_failure_without_a_rate_has_no_number_of_runs() -> None:
    with pytest.raises(ValueError, match="rate"):
        tries_for(0.0)


def test_wilson_interval_of_seven_in_ten() -> None:
    interval = OccurrenceRate(7, 10).interval()
    assert interval == pytest.approx((0.3968, 0.8922), abs=1e-3)


def test_rate_without_runs_can_be_anything() -> None:
    rate = OccurrenceRate(0, 0)
    assert rate.interval() == (0.0, 1.0)
    assert not rate.always
    assert not rate.flaky


def test_failures_of_the_infrastructure_do_not_count() -> None:
    found = OccurrenceRate.of(["shows", "client", "absent", "environment", "server start", "shows"])
    assert found == OccurrenceRate(2, 3)


@pytest.mark.parametrize(
    ("shown", "absent", "decision"),
    [(0, 0, None), (1, 0, None), (2, 0, True), (0, 1, False), (1, 1, False), (3, 1, False)],
)
def test_failure_that_always_shows_must_show_twice(shown: int, absent: int, decision: bool | None) -> None:
    assert ALWAYS_RULE.decide(shown, absent) is decision


def test_flaky_failure_must_show_once_in_all_tries() -> None:
    rule = AcceptanceRule(tries=3, needed=1)
    assert [rule.decide(0, absent) for absent in range(4)] == [None, None, None, False]
    assert rule.decide(1, 2) is True


def test_thorough_rule_tries_more_often_than_the_quick_one() -> None:
    for shown in range(1, 10):
        rate = OccurrenceRate(shown, 10)
        assert quick_rule(rate).tries < thorough_rule(rate).tries or thorough_rule(rate).tries == MAX_TRIES


def test_rule_of_a_rate_that_may_be_zero_has_an_end() -> None:
    assert thorough_rule(OccurrenceRate(0, 5)).tries == MAX_TRIES
