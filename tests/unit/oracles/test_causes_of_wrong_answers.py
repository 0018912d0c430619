"""Wrong answers after different kinds of faults are different causes, and no chance strike makes them so."""

from __future__ import annotations

import msgspec

from history.verdict import Cause
from kvchaos.judging.judge_run import judge
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import MS, fault, make_plan

WRONG = [-9.0, -0.25, -1.75, -0.125]
OTHER = [-8.0, -0.25, -1.75, -0.125]
BASE = "answers/not-golden: request"


def run_with(*kinds: str) -> Run:
    return clean_run(make_plan(faults=tuple(fault(kind) for kind in kinds)))


def strike(run: Run, index: int, kind: str) -> None:
    """Strike a request in its middle."""
    record = run.requests[index]
    run.fire_at(record.start_ns + 10 * MS, "f1", kind, blocks=[3])
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], request=f"cmpl-{record.id}-0-8d87c8ec")


def wrong_answers(run: Run) -> Cause:
    (cause,) = (cause for cause in judge(run.history()).causes if cause.rule == "answers/not-golden")
    return cause


def signature(run: Run) -> str:
    return wrong_answers(run).signature


def test_wrong_answer_without_a_fault_has_its_rule_as_signature() -> None:
    run = run_with("load_failure")
    run.change_request(run.first_of("chaos"), logprobs=WRONG)
    assert signature(run) == BASE


def test_wrong_answer_of_a_struck_request_has_the_kind_of_the_fault() -> None:
    run = run_with("load_failure")
    index = run.first_of("chaos")
    strike(run, index, "load_failure")
    run.change_request(index, logprobs=WRONG)
    assert signature(run) == f"{BASE} struck by load_failure"


def test_sharer_of_a_struck_block_counts_as_struck() -> None:
    run = run_with("load_failure")
    index = run.first_of("chaos")
    strike(run, index, "load_failure")
    run.change_request(index + 1, first_block=run.requests[index].first_block, logprobs=WRONG)
    assert signature(run) == f"{BASE} struck by load_failure"


def test_fault_that_struck_only_some_of_the_wrong_answers_is_not_in_the_signature() -> None:
    run = run_with("load_failure")
    index = run.first_of("chaos")
    strike(run, index, "load_failure")
    run.change_request(index, logprobs=WRONG)
    run.change_request(index + 1, logprobs=OTHER)
    assert signature(run) == BASE


def test_signatures_of_other_rules_have_no_kind_of_fault() -> None:
    run = run_with("load_failure")
    index = run.first_of("chaos")
    strike(run, index, "load_failure")
    run.change_request(index, outcome="error", status=500)
    found = judge(run.history()).causes
    assert found
    assert not [cause.signature for cause in found if "struck by" in cause.signature]
