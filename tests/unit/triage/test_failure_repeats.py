"""Repeats of a failing run: which runs are planned, and what their outcomes prove."""

from __future__ import annotations

from history.scenario import FaultSpec, Scenario, Trigger
from kvchaos.triage.failure_repeats import RepeatOutcome, Variant, classify, repeat_plan
from kvchaos.triage.failure_signature import Observation
from tests.support.triage_runs import triage_scenario


def outcomes(**given: list[Observation]) -> list[RepeatOutcome]:
    names: dict[str, Variant] = {"same": "same seed", "other": "other seed", "bare": "without faults"}
    return [
        RepeatOutcome(names[name], 7, observation, None)
        for name, observations in given.items()
        for observation in observations
    ]


def with_fault() -> Scenario:
    fault = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(every=1))
    return triage_scenario(faults=(fault,))


def test_plan_has_three_runs_of_each_and_one_without_faults() -> None:
    plan = list(repeat_plan(with_fault(), 7))
    assert [(each.variant, each.seed) for each in plan] == [
        *[("same seed", 7)] * 3,
        *[("other seed", 8), ("other seed", 9), ("other seed", 10)],
        ("without faults", 7),
    ]
    assert [len(each.scenario.faults) for each in plan] == [1] * 6 + [0]


def test_run_without_faults_is_not_planned_where_there_are_none() -> None:
    assert {each.variant for each in repeat_plan(triage_scenario(), 7)} == {"same seed", "other seed"}


def test_failure_of_every_run_shows_always_and_needs_its_faults() -> None:
    result = classify(outcomes(same=["shows"] * 3, other=["shows"] * 3, bare=["absent"]))
    assert (result.occurrence, result.only_with_faults) == ("always", True)
    assert (result.with_faults.shown, result.with_faults.runs) == (6, 6)
    assert 0.6 < result.with_faults.low < 0.62


def test_failure_without_faults_does_not_need_them() -> None:
    assert classify(outcomes(same=["shows"] * 3, bare=["shows"])).only_with_faults is False


def test_flaky_failure_has_a_rate_and_proves_nothing_about_faults_in_one_run() -> None:
    result = classify(outcomes(same=["shows", "absent", "absent"], other=["shows"] * 3, bare=["absent"]))
    assert (result.occurrence, result.only_with_faults) == ("flaky", None)
    assert (result.same_seed.shown, result.other_seeds.shown) == (1, 3)


def test_many_runs_without_faults_prove_that_a_flaky_failure_needs_them() -> None:
    result = classify(outcomes(same=["shows", "absent"], bare=["absent"] * 8))
    assert result.only_with_faults is True


def test_failure_that_no_run_shows_is_not_again() -> None:
    result = classify(outcomes(same=["absent"] * 3, bare=["absent"]))
    assert (result.occurrence, result.only_with_faults) == ("not again", None)


def test_failures_of_the_infrastructure_are_counted_apart() -> None:
    result = classify(outcomes(same=["client", "shows", "environment"], other=["client"]))
    assert (result.occurrence, result.infrastructure) == ("always", {"client": 2, "environment": 1})
    assert classify(outcomes(same=["server start"])).occurrence == "unknown"
