"""Damage explains the wrong answers that read it: not less, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from packaging.version import Version

from history.expected_findings import Expectation
from history.reader import History, read_history
from history.verdict import FaultEffect
from kvchaos.judging.judge_run import judge
from kvchaos.judging.outcome import ExpectationMatch
from kvchaos.planning.run_plan import declared_effects
from oracles import ORACLES
from tests.support.contract_violating_runs import (
    NOT_GOLDEN,
    differ,
    expectation_match,
    explained,
    planned,
    reset,
    strike,
    struck,
    verdict,
)
from tests.support.histories import clean_run
from tests.support.stored import DATA, unpack


def test_wrong_answer_from_a_damaged_block_is_explained() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    judged = verdict(run)
    assert judged.outcome == "as expected"
    (reason,) = judged.reasons
    assert "f1 (bit_flip)" in reason
    assert NOT_GOLDEN in reason
    assert judged.effects == [
        FaultEffect(
            fault="f1",
            kind="bit_flip",
            rules=[NOT_GOLDEN, "answers/not-repeated"],
            least=1,
            explains={NOT_GOLDEN: 1},
        )
    ]
    assert expectation_match(run, "answers") is ExpectationMatch.EXPLAINED


def test_wrong_answer_without_a_damaged_block_stays_a_cause() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    other = differ(run, 3)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert explained(judged) == {NOT_GOLDEN: 1}
    (reason,) = [line for line in judged.reasons if NOT_GOLDEN in line]
    assert " 1 of 2 " in reason
    assert other in reason
    assert expectation_match(run, "answers") is ExpectationMatch.NOT_EXPECTED


def test_damage_that_no_answer_shows_is_not_as_expected() -> None:
    run = struck("bit_flip", 1)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert judged.effects[0].missing
    assert any("fault f1 (bit_flip) fired" in reason for reason in judged.reasons)
    assert expectation_match(run, "answers") is ExpectationMatch.NOT_EXPECTED


def test_no_effect_is_required_of_a_fault_that_never_fired() -> None:
    judged = verdict(struck("bit_flip"))
    assert (judged.outcome, judged.effects) == ("unknown", [])


def test_wrong_answer_before_any_firing_stays_unexplained() -> None:
    run = struck("bit_flip")
    differ(run, 1)
    assert verdict(run).outcome == "not as expected"


def test_a_request_with_the_same_first_block_may_have_read_the_damage() -> None:
    run = struck("bit_flip", 1)
    differ(run, 2)
    index = run.first_of("chaos")
    run.change_request(index + 2, first_block=run.requests[index + 1].first_block)
    assert explained(verdict(run)) == {NOT_GOLDEN: 1}


def test_a_request_that_ended_before_the_damage_did_not_read_it() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    index = run.first_of("chaos")
    run.change_request(index, first_block=run.requests[index + 1].first_block)
    differ(run, 0)
    judged = verdict(run)
    assert (judged.outcome, explained(judged)) == ("not as expected", {NOT_GOLDEN: 1})


@pytest.mark.parametrize(("direction", "outcome"), [("load", "not as expected"), ("store", "as expected")])
def test_cache_reset_ends_load_damage_but_not_store_damage(direction: str, outcome: str) -> None:
    run = struck("bit_flip", 1, direction=direction)
    reset(run)
    differ(run, 1)
    differ(run, 1, phase="healed")
    assert verdict(run).outcome == outcome


def test_unexplained_finding_precedes_explained_ones_when_findings_are_cut() -> None:
    """The verdict keeps five findings of a rule: the one that matters must be among them."""
    run = struck("zero_block", 0, 1, 2)
    for index in range(3):
        differ(run, index)
        differ(run, index, phase="healed")
    other = differ(run, 3, phase="healed")
    (result,) = [result for result in verdict(run).results if result.oracle == "answers"]
    assert (result.violations, result.explained) == (7, {NOT_GOLDEN: 6})
    assert len(result.findings) == 5
    assert [finding.explained_by for finding in result.findings] == [None, *["f1"] * 4]
    assert result.findings[0].request == other


def test_declared_effect_explains_its_rule_only() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    index = run.first_of("chaos") + 3
    foreign = [-8.0, -0.25, -1.75, -0.125]
    for phase in ("golden", "chaos", "healed"):
        run.change_request(run.first_of(phase) + 2, logprobs=foreign)
    run.change_request(index, logprobs=foreign)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any("answers/foreign" in reason for reason in judged.reasons)


def test_expectation_of_a_rule_covers_all_its_findings() -> None:
    """As in scenarios that were written before faults declared anything."""
    named = Expectation(releases=">=0", fail=(NOT_GOLDEN,), issue="on purpose")
    run = clean_run(planned("bit_flip", {}, named))
    strike(run, "bit_flip", 1)
    differ(run, 1)
    differ(run, 3)
    assert expectation_match(run, "answers") is ExpectationMatch.EXPECTED


def test_an_oracle_that_could_not_judge_does_not_make_the_effect_missing() -> None:
    run = struck("bit_flip", 1)
    run.plan = run.plan.model_copy(
        update={"scenario": run.plan.scenario.model_copy(update={"phases": run.plan.scenario.phases[1:]})}
    )
    judged = verdict(run)
    assert [effect.judged for effect in judged.effects] == [False]
    assert judged.outcome == "unknown"


def test_effect_of_an_oracle_outside_the_selection_is_not_missing() -> None:
    others = [oracle for oracle in ORACLES if oracle.name != "answers"]
    (effect,) = judge(struck("bit_flip", 1).history(), others).effects
    assert not effect.missing


def test_a_run_of_an_earlier_version_is_judged_by_its_expectation() -> None:
    run = struck("bit_flip", 1)
    run.plan = run.plan.model_copy(
        update={
            "effects": (),
            "expectation": Expectation(releases=">=0", fail=(NOT_GOLDEN,), issue="on purpose"),
        }
    )
    differ(run, 1)
    differ(run, 3)
    judged = verdict(run)
    assert (judged.effects, judged.causes[0].violations) == ([], 2)


def with_effects(history: History) -> History:
    plan = history.plan
    effects = tuple(declared_effects(plan.scenario.faults, Version(plan.versions.vllm)))
    changes = {"effects": effects, "expectation": Expectation(releases=">=0")}
    return dataclasses.replace(history, plan=plan.model_copy(update=changes))


@pytest.mark.parametrize(
    ("archive", "explains"),
    [
        ("wrong-answers", [{NOT_GOLDEN: 6}]),
        (
            "hang",
            [
                {"progress/deadlock": 2},
                {},
                {"transfer-invariants/load-never-ended": 1},
                {"drained/blocks-leaked": 1},
            ],
        ),
    ],
)
def test_declared_effect_covers_the_difference_of_a_recorded_run(
    archive: str, explains: list[dict[str, int]], tmp_path: Path
) -> None:
    history = with_effects(read_history(unpack(DATA / f"{archive}.tar.xz", tmp_path)))
    judged = judge(history)
    assert judged.outcome == "as expected", judged.reasons
    assert [effect.explains for effect in judged.effects] == explains
