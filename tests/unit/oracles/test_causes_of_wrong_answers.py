"""Wrong answers after different kinds of faults are different causes; chance strikes do not make them so."""

from __future__ import annotations

import msgspec
import pytest

from history.records import Scalar
from history.verdict import Cause
from kvchaos.judging.judge_run import judge
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import MS, fault, make_plan

WRONG = [-9.0, -0.25, -1.75, -0.125]
OTHER = [-8.0, -0.25, -1.75, -0.125]
BASE = "answers/not-golden: request"
FAILED = "load_failure"
EVIDENCE: dict[str, dict[str, Scalar | list[int | str]]] = {
    FAILED: {"blocks": [3]},
    "completion_lost": {"job": 1, "direction": "load"},
}


def strike(run: Run, index: int, kind: str = FAILED, after_ms: int = 10, name: str | None = None) -> None:
    """Strike a request so long after its start, or another one by name."""
    record = run.requests[index]
    run.fire_at(record.start_ns + after_ms * MS, "f1", kind, **EVIDENCE.get(kind, {}))
    name = f"cmpl-{record.id}-0-8d87c8ec" if name is None else name
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], request=name or None)


def struck_run() -> tuple[Run, int]:
    """A run whose first request of the chaos phase is struck and has a wrong answer, and its index."""
    run = clean_run(make_plan(faults=(fault(FAILED),)))
    index = run.first_of("chaos")
    strike(run, index)
    run.change_request(index, logprobs=WRONG)
    return run, index


def wrong_answers(run: Run) -> Cause:
    (cause,) = (cause for cause in judge(run.history()).causes if cause.rule == "answers/not-golden")
    return cause


def signature(run: Run) -> str:
    return wrong_answers(run).signature


def test_wrong_answer_without_a_fault_has_its_rule_as_signature() -> None:
    run = clean_run(make_plan(faults=(fault(FAILED),)))
    run.change_request(run.first_of("chaos"), logprobs=WRONG)
    assert signature(run) == BASE


def test_wrong_answer_of_a_struck_request_has_the_kind_of_the_fault() -> None:
    run, _ = struck_run()
    assert signature(run) == f"{BASE} after load_failure"


def test_kinds_of_two_faults_are_sorted() -> None:
    run, index = struck_run()
    strike(run, index, "completion_lost")
    assert signature(run) == f"{BASE} after completion_lost, load_failure"


def test_request_with_the_first_block_of_a_struck_one_counts() -> None:
    run, index = struck_run()
    run.change_request(index + 1, first_block=run.requests[index].first_block, logprobs=OTHER)
    assert signature(run) == f"{BASE} after load_failure"


def test_kind_before_only_some_of_the_wrong_answers_is_not_in_the_signature() -> None:
    run, index = struck_run()
    run.change_request(index + 1, logprobs=OTHER)
    assert signature(run) == BASE


def test_strike_after_the_answer_does_not_count() -> None:
    run = clean_run(make_plan(faults=(fault(FAILED),)))
    index = run.first_of("chaos")
    run.change_request(index, logprobs=WRONG)
    strike(run, index, after_ms=60_000)
    assert signature(run) == BASE


def test_strike_that_names_no_request_does_not_count() -> None:
    run = clean_run(make_plan(faults=(fault(FAILED),)))
    index = run.first_of("chaos")
    run.change_request(index, logprobs=WRONG)
    strike(run, index, name="")
    assert signature(run) == BASE


@pytest.mark.parametrize("kind", ["evict", "copy_delay", "lookup_miss"])
def test_fault_that_harms_no_content_does_not_count(kind: str) -> None:
    run, index = struck_run()
    strike(run, index, kind)
    assert signature(run) == f"{BASE} after load_failure"


def test_strike_in_an_earlier_life_of_the_server_does_not_count() -> None:
    run, index = struck_run()
    run.change_request(index, logprobs=run.requests[index - 1].logprobs)
    later = run.first_of("healed")
    run.now_ns = run.requests[later].start_ns - MS
    run.event("server_start", pid=run.leader, port=8123, log_line=0)
    run.change_request(later, first_block=run.requests[index].first_block, logprobs=OTHER)
    assert signature(run) == BASE


def test_signatures_of_other_rules_have_no_kind_of_fault() -> None:
    run, index = struck_run()
    run.change_request(index, outcome="error", status=500)
    found = judge(run.history()).causes
    assert found
    assert not [cause.signature for cause in found if " after " in cause.signature]
