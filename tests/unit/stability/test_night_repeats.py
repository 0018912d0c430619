"""Repeats of new failures: which, how many, in what order, also after an interruption, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from history.scenario import FaultSpec, Trigger
from kvchaos.stability.campaign_records import CampaignRun, RepeatedFailure, RunSignature
from kvchaos.stability.night_counts import night_line, signature_lines
from kvchaos.stability.night_repeats import (
    MOST_FAILURES,
    known_failures,
    next_repeat,
    repeat_result,
    without_faults,
)
from kvchaos.triage.failure_repeats import Variant
from tests.support.stability_nights import campaign_run, signature_line, stability_date, unexplained
from tests.support.triage_runs import triage_scenario

LEAK, DIED = "drained/blocks-leaked: gauge", "server-alive/died: server"
FAULT = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(nth=(1,)))
SCENARIOS = {"aborts": triage_scenario(faults=(FAULT,))}
VARIANTS: list[Variant] = ["same seed", "same seed", "other seed", "other seed", "without faults"]


def failed(number: int, *signatures: str) -> CampaignRun:
    return campaign_run(number, *map(unexplained, signatures), outcome="not as expected")


def repeat(number: int, of: int, variant: Variant, *, shows: bool, signature: str = LEAK) -> CampaignRun:
    run = failed(number, signature) if shows else campaign_run(number)
    found = RepeatedFailure(number=of, variant=variant, signature=signature)
    return replace(run, category="repeat", repeat=found)


def made(runs: list[CampaignRun], known: Sequence[str] = (), *, shows: bool = True) -> list[CampaignRun]:
    """The runs, and all repeats that they need, one after the other."""
    while (planned := next_repeat(runs, known, SCENARIOS)) is not None:
        assert planned.repeat is not None
        runs = [
            *runs,
            repeat(
                planned.number,
                planned.repeat.number,
                planned.repeat.variant,
                shows=shows,
                signature=planned.repeat.signature,
            ),
        ]
    return runs


def test_new_failure_is_repeated_with_its_seed_other_seeds_and_without_faults() -> None:
    runs = made([campaign_run(0), failed(1, LEAK)])
    assert [run.repeat.variant for run in runs if run.repeat] == VARIANTS
    third = next_repeat(runs[:4], (), SCENARIOS)
    assert third is not None
    assert third.choice.seed == runs[1].seed + 1


def test_failure_is_repeated_although_a_known_bug_has_shown_its_signature() -> None:
    known = known_failures([signature_line(19, LEAK, ["vllm-1"]), signature_line(19, DIED)])
    assert known == {DIED}
    assert next_repeat([failed(0, LEAK)], known, SCENARIOS) is not None
    assert next_repeat([failed(0, DIED)], known, SCENARIOS) is None


@pytest.mark.parametrize("cut", range(2, 7))
def test_interrupted_night_goes_on_with_the_repeat_that_is_missing(cut: int) -> None:
    whole = made([campaign_run(0), failed(1, LEAK)])
    planned = next_repeat(whole[:cut], (), SCENARIOS)
    assert planned is not None
    assert planned.repeat == whole[cut].repeat


@pytest.mark.parametrize(
    "run",
    [
        failed(1),
        campaign_run(1, RunSignature(signature=LEAK, bugs=["vllm-1"])),
        replace(failed(1, LEAK), infrastructure="client"),
    ],
)
def test_explained_failures_and_those_of_the_infrastructure_are_not_repeated(run: CampaignRun) -> None:
    assert next_repeat([run], (), SCENARIOS) is None


def test_failure_of_an_earlier_night_is_not_repeated() -> None:
    assert next_repeat([failed(1, LEAK)], {LEAK}, SCENARIOS) is None


def test_second_run_of_a_signature_is_not_repeated() -> None:
    runs = made([failed(0, LEAK)])
    assert next_repeat([*runs, failed(len(runs), LEAK)], (), SCENARIOS) is None


def test_new_signature_of_a_repeat_is_not_repeated() -> None:
    runs = made([failed(0, LEAK)])
    odd = replace(runs[-1], signatures=[unexplained(DIED)])
    assert next_repeat([*runs[:-1], odd], (), SCENARIOS) is None


def test_night_with_many_new_signatures_repeats_a_few() -> None:
    runs = made([failed(number, f"a/b: {number}") for number in range(MOST_FAILURES + 2)])
    assert len({run.repeat.signature for run in runs if run.repeat}) == MOST_FAILURES


def test_repeats_classify_the_failure_and_count_nowhere_else() -> None:
    runs = made([campaign_run(0, control="found"), failed(1, LEAK)])
    result = repeat_result(runs, LEAK)
    assert result is not None
    assert (result.occurrence, result.only_with_faults) == ("always", False)
    night = night_line(stability_date(20), "0.32.0", runs, 100.0, complete=True)
    assert night.outcomes == {"as expected": 1, "not as expected": 1}
    assert night.categories["repeat"] == len(VARIANTS)
    (line,) = signature_lines(stability_date(20), "0.32.0", runs)
    assert (line.count, line.repeats) == (1, result)


def test_failure_that_needs_its_faults_is_reported_as_such() -> None:
    runs = [failed(0, LEAK)]
    for number, variant in enumerate(VARIANTS, start=1):
        runs.append(repeat(number, 0, variant, shows=variant != "without faults"))
    result = repeat_result(runs, LEAK)
    assert result is not None
    assert result.only_with_faults


def test_wrong_answers_that_also_come_without_faults_do_not_need_them() -> None:
    wrong, bare = "answers/not-golden: request after load_failure", "answers/not-golden: request"
    runs = [failed(0, wrong)]
    for number, variant in enumerate(VARIANTS, start=1):
        made_by = repeat(number, 0, variant, shows=True, signature=wrong)
        shown = bare if variant == "without faults" else wrong
        runs.append(replace(made_by, signatures=[unexplained(shown)]))
    result = repeat_result(runs, wrong)
    assert result is not None
    assert (result.occurrence, result.only_with_faults) == ("always", False)


def test_scenario_of_a_repeat_without_faults_has_none() -> None:
    assert without_faults(SCENARIOS["aborts"]).faults == ()
