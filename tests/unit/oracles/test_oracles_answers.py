"""answers must see a single changed bit, in tokens or in logprobs, and must not pass without golden ones."""

from __future__ import annotations

import math

import pytest

from history.verdict import Figures, Finding, Verdict
from oracles.answers import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import failure, make_plan

LOGPROBS = [-0.5, -0.25, -1.75, -0.125]


def wrong(run: Run) -> Finding:
    """The first wrong answer, by whichever rule: all prompts of a clean run have the same answer."""
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    return result.findings[0]


def test_a_changed_token_fails_with_position_and_both_values() -> None:
    run = clean_run()
    record = run.change_request(run.first_of("chaos"), token_ids=[11, 12, 99, 14])
    finding = wrong(run)
    assert (finding.request, finding.phase) == (record.id, "chaos")
    assert finding.figures == {
        "position": 2,
        "token": 99,
        "logprob": -1.75,
        "due_token": 13,
        "due_logprob": -1.75,
    }


def test_the_smallest_change_of_one_logprob_fails() -> None:
    run = clean_run()
    moved = [*LOGPROBS[:3], math.nextafter(LOGPROBS[3], 0.0)]
    run.change_request(run.first_of("healed"), logprobs=moved)
    assert wrong(run).figures["position"] == 3


@pytest.mark.parametrize(
    ("changed", "came"),
    [
        ([-3.0, math.nextafter(-2.5, 0.0)], {"logprob": -2.4999999999999996}),
        ([-3.0], {}),
    ],
)
def test_a_changed_logprob_of_the_prompt_fails(changed: list[float], came: Figures) -> None:
    run = clean_run()
    record = run.requests[run.first_of("chaos")]
    for index, other in enumerate(run.requests):
        if other.prompt_id == record.prompt_id:
            run.change_request(index, prompt_logprobs=[-3.0, -2.5])
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(run.first_of("chaos"), prompt_logprobs=changed)
    figures = wrong(run).figures
    assert figures == {"prompt_position": 2, "due_logprob": -2.5, **came}


def test_truncated_answer_fails_at_its_end_position() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), token_ids=[11, 12, 13], logprobs=LOGPROBS[:3])
    figures = wrong(run).figures
    assert figures == {"position": 3, "due_token": 14, "due_logprob": LOGPROBS[3]}


def test_two_golden_answers_of_one_prompt_that_differ_fail() -> None:
    run = clean_run()
    first = run.first_of("golden")
    run.change_request(first + 1, prompt_id=run.requests[first].prompt_id, token_ids=[11, 12, 13, 15])
    assert wrong(run).phase == "golden"


def inexact_run() -> Run:
    """On a build whose sums depend on the batch."""
    return clean_run(make_plan().model_copy(update={"logprob_tolerance": 2e-5}))


@pytest.mark.parametrize("step", [1.9e-5, -1.9e-5])
def test_logprobs_within_the_tolerance_of_an_inexact_build_pass_and_are_reported(
    step: float,
) -> None:
    run = inexact_run()
    run.change_request(run.first_of("healed"), logprobs=[*LOGPROBS[:3], LOGPROBS[3] + step])
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures["tolerance"] == 2e-5


def test_result_of_an_exact_build_has_no_tolerance() -> None:
    assert judge(clean_run().history()).figures["tolerance"] == 0


@pytest.mark.parametrize("moved", [LOGPROBS[3] + 2.1e-5, LOGPROBS[3] - 2.1e-5, math.nan, -math.inf])
def test_more_than_the_tolerance_fails(moved: float) -> None:
    run = inexact_run()
    run.change_request(run.first_of("healed"), logprobs=[*LOGPROBS[:3], moved])
    assert wrong(run).figures["position"] == 3


def test_no_tolerance_lets_a_token_or_a_missing_end_pass() -> None:
    run = inexact_run()
    run.change_request(run.first_of("chaos"), token_ids=[11, 12, 13, 15])
    run.change_request(run.first_of("healed"), token_ids=[11, 12, 13], logprobs=LOGPROBS[:3])
    assert judge(run.history()).violations == 2


MARGINS = [0.5, 0.75, 0.0, 0.25]
PARTED = {"token_ids": [11, 12, 99, 15], "logprobs": [*LOGPROBS[:2], LOGPROBS[2] - 1e-5, -2.0]}


def run_with_margins(margins: list[float], changed_margins: list[float], **changed: object) -> Run:
    run = inexact_run()
    for index in range(len(run.requests)):
        if run.requests[index].phase != "probe":
            run.change_request(index, logprob_margins=margins)
    run.change_request(run.first_of("chaos"), logprob_margins=changed_margins, **changed)
    return run


def test_divergence_at_a_token_tie_is_no_wrong_answer() -> None:
    result = judge(run_with_margins(MARGINS, MARGINS, **PARTED).history())
    assert result.verdict is Verdict.PASS
    assert result.figures["ties"] == 1


@pytest.mark.parametrize("margins", [[], [0.5, 0.75, 0.001, 0.25]], ids=["not told", "not near"])
def test_different_token_without_a_tie_fails(margins: list[float]) -> None:
    for one, other in ((margins, MARGINS), (MARGINS, margins)):
        result = judge(run_with_margins(one, other, **PARTED).history())
        assert finding_of(result, "answers/not-golden").figures["position"] == 2


def test_tie_between_tokens_explains_no_other_difference() -> None:
    earlier = {**PARTED, "logprobs": [-0.6, *LOGPROBS[1:]]}
    elsewhere = {**PARTED, "logprobs": [*LOGPROBS[:2], -2.5, -2.0]}
    same_token = {"logprobs": [*LOGPROBS[:2], -2.5, -0.125]}
    for changed in (earlier, elsewhere, same_token):
        assert judge(run_with_margins(MARGINS, MARGINS, **changed).history()).verdict is Verdict.FAIL


def test_token_tie_is_no_excuse_on_an_exact_build() -> None:
    run = run_with_margins(MARGINS, MARGINS, **PARTED)
    run.plan = make_plan()
    assert judge(run.history()).verdict is Verdict.FAIL


def test_answer_to_a_different_prompt_is_reported_with_that_prompt() -> None:
    run = clean_run()
    first = run.first_of("golden")
    other = {"token_ids": [21, 22, 23, 24], "logprobs": [-2.0, -0.75, -0.5, -1.0]}
    for record in [record for record in run.requests if record.prompt_id == "prompt-1"]:
        run.change_request(run.requests.index(record), **other)
    assert run.requests[first].prompt_id == "prompt-0"
    run.change_request(run.first_of("chaos"), **other)
    result = judge(run.history())
    assert result.by_rule == {"answers/foreign": 1}
    assert result.findings[0].text.endswith("prompt-1")


def test_damaged_answer_matches_no_other_prompt() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), logprobs=[-0.75, *LOGPROBS[1:]])
    assert judge(run.history()).by_rule == {"answers/not-golden": 1}


def test_requests_that_failed_are_not_compared() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "boom"))
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.checked == 7


def without_one_golden_answer() -> Run:
    run = clean_run()
    run.change_request(run.first_of("golden"), **failure("InternalServerError", "boom"))
    return run


def test_a_prompt_without_a_golden_answer_is_compared_with_its_first_answer() -> None:
    result = judge(without_one_golden_answer().history())
    assert result.verdict is Verdict.PASS
    assert result.figures["with_others"] == 1


def test_answers_that_differ_from_each_other_fail_even_without_a_golden_one() -> None:
    run = without_one_golden_answer()
    record = run.change_request(run.first_of("healed"), token_ids=[11, 12, 99, 14])
    finding = wrong(run)
    assert (finding.request, finding.figures["due_token"]) == (record.id, 13)


def test_a_run_without_golden_answers_is_unknown() -> None:
    result = judge(clean_run(make_plan(roles=("load", "healed"))).history())
    gap_of(result, "answers/no-golden-answer")


@pytest.mark.parametrize("roles", [("golden",), ("golden", "load")])
def test_golden_answers_that_nothing_is_compared_with_are_unknown(
    roles: tuple[str, ...],
) -> None:
    plan = make_plan(roles=("golden", "load"), workload="unique")
    run = clean_run(plan)
    run.requests = [record for record in run.requests if record.phase in (*roles, "probe")]
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_the_same_tokens_with_another_finish_reason_fail() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), finish_reason="stop")
    assert wrong(run).figures == {"position": 4}


def test_too_few_compared_answers_are_unknown() -> None:
    """All golden answers but one are of prompts that nobody else has."""
    run = clean_run()
    first = run.first_of("golden")
    for index, record in enumerate(run.requests):
        if index > first + 1:
            run.change_request(index, prompt_id=f"lone-{record.id}")
    run.change_request(first + 1, prompt_id=run.requests[first].prompt_id)
    phases = tuple(
        spec if spec.role == "golden" else spec.model_copy(update={"requests": 100})
        for spec in run.plan.scenario.phases
    )
    scenario = run.plan.scenario.model_copy(update={"phases": phases})
    run.plan = run.plan.model_copy(update={"scenario": scenario})
    gap = gap_of(judge(run.history()), "answers/few-compared")
    assert gap.figures == {"compared": 1, "planned": 200}


def test_a_phase_whose_answers_have_no_golden_one_is_unknown_though_another_was_compared() -> None:
    run = clean_run()
    for index, record in enumerate(run.requests):
        if record.phase == "healed":
            run.change_request(index, prompt_id=f"lone-{record.id}")
    result = judge(run.history())
    gap = gap_of(result, "answers/few-compared-in-phase")
    assert (gap.subject.name, gap.figures["compared"]) == ("healed", 0)
    assert result.verdict is Verdict.UNKNOWN


def test_phase_without_complete_answers_is_left_to_other_oracles() -> None:
    run = clean_run()
    for index, record in enumerate(run.requests):
        if record.phase == "healed":
            run.change_request(index, **failure("HTTPStatus", "no"))
    assert judge(run.history()).verdict is Verdict.PASS


def test_answers_that_nothing_was_compared_with_are_counted_by_phase() -> None:
    run = clean_run()
    index = run.first_of("chaos")
    run.change_request(index, prompt_id="lone")
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures["alone"] == 1


def test_complete_comparison_reports_no_uncompared_answers() -> None:
    assert "alone" not in judge(clean_run().history()).figures
