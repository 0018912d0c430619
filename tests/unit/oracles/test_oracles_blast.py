"""blast-radius must see harm that spreads from a struck request, and not that to its sharers."""

from __future__ import annotations

import msgspec
import pytest

from history.verdict import OracleResult, Verdict
from oracles.blast import judge
from oracles.views.struck_requests import concerns
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_kinds
from tests.support.synthetic_records import MS, failure, fault, good_request, make_plan

WRONG = [-9.0, -0.25, -1.75, -0.125]
BOOM = failure("InternalServerError", "boom")


def run_with_strikes() -> Run:
    return clean_run(make_plan(faults=(fault("load_failure"),)))


def strike(run: Run, index: int, name: str | None = None) -> None:
    """A request is struck in its middle, under the server's name for it."""
    record = run.requests[index]
    run.fire_at(record.start_ns + 10 * MS, "f1", "load_failure", blocks=[3])
    request = name if name is not None else f"cmpl-{record.id}-0-8d87c8ec"
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], request=request or None)


def struck_run() -> tuple[Run, int]:
    """A run whose second request of the chaos phase is struck, and its place."""
    run = run_with_strikes()
    index = run.first_of("chaos") + 1
    strike(run, index)
    return run, index


def failed(run: Run) -> OracleResult:
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    return result


def test_a_strike_that_harms_no_other_passes_and_tells_who_was_looked_at() -> None:
    run, _ = struck_run()
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    # Two more of the phase, three of the healed one with other prompts, and the last canary.
    assert result.figures == {"strikes": 1, "nameless": 0, "struck": 1, "bystanders": 6}


def test_the_request_that_was_struck_may_fail_and_its_sharer_may_be_wrong() -> None:
    run, index = struck_run()
    run.change_request(index, **BOOM)
    sharer = run.first_of("healed") + 1
    assert run.requests[sharer].prompt_id == run.requests[index].prompt_id
    run.change_request(sharer, logprobs=WRONG)
    assert judge(run.history()).verdict is Verdict.PASS


def test_another_prompt_with_the_same_first_block_shares_it() -> None:
    run, index = struck_run()
    block = run.requests[index].first_block
    run.change_request(index + 1, first_block=block, logprobs=WRONG)
    run.change_request(index + 2, first_block=block, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS


def test_an_error_of_somebody_else_fails_with_its_request() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **BOOM)
    finding = finding_of(judge(run.history()), "blast-radius/bystander-failed")
    assert finding.request == run.requests[index + 1].id


def test_a_wrong_answer_to_somebody_else_fails_with_the_place() -> None:
    run, index = struck_run()
    run.change_request(index + 2, logprobs=WRONG)
    result = failed(run)
    assert result.by_rule == {"blast-radius/bystander-wrong-answer": 1}
    assert result.findings[0].figures["position"] == 0


def test_harm_that_comes_later_counts() -> None:
    run, _ = struck_run()
    run.change_request(run.first_of("healed"), **BOOM)
    assert failed(run).violations == 1


def test_harm_that_was_there_before_the_strike_is_not_its_doing() -> None:
    run, index = struck_run()
    run.change_request(index - 1, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_client_that_gave_up_is_not_harmed() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **{**BOOM, "outcome": "aborted"})
    assert judge(run.history()).verdict is Verdict.PASS


def test_an_answer_that_is_held_against_a_struck_one_is_not_wrong() -> None:
    run = clean_run(make_plan(roles=("load", "chaos"), faults=(fault("load_failure"),)))
    first, index = run.first_of("load"), run.first_of("chaos")
    strike(run, first)
    run.change_request(first, logprobs=WRONG, first_block="another")
    assert run.requests[first].prompt_id == run.requests[index].prompt_id
    assert judge(run.history()).verdict is Verdict.PASS


def test_all_requests_whose_ends_were_told_in_one_strike_are_struck() -> None:
    run, index = struck_run()
    run.faults.clear()
    names: list[int | str] = [f"cmpl-{run.requests[at].id}-0" for at in (index, index + 1)]
    run.fire_at(run.requests[index].start_ns, "f1", "completion_reorder", requests=names)
    run.change_request(index + 1, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(index + 2, **BOOM)
    assert failed(run).violations == 1


@pytest.mark.parametrize("name", ["", "cmpl-somebody-else-0", "kvchaos"])
def test_after_a_strike_on_nobody_that_is_known_anybody_may_have_been_struck(name: str) -> None:
    run, index = struck_run()
    strike(run, index + 2, name)
    run.change_request(index + 2, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(index + 1, **BOOM)
    assert failed(run).violations == 1


def test_where_no_strike_names_its_request_the_oracle_says_that_it_does_not_apply() -> None:
    run = run_with_strikes()
    strike(run, run.first_of("chaos"), "")
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures == {"strikes": 1, "nameless": 1, "struck": 0, "bystanders": 0}


def test_a_struck_prompt_shorter_than_a_block_may_share_what_came_of_its_answer() -> None:
    run, index = struck_run()
    run.change_request(index, prompt_tokens=20, first_block=None)
    run.change_request(index + 1, **BOOM)
    result = judge(run.history())
    assert (result.verdict, result.figures["bystanders"]) == (Verdict.PASS, 0)


@pytest.mark.parametrize(("max_tokens", "verdict"), [(11, Verdict.FAIL), (12, Verdict.PASS)])
def test_a_short_prompt_stands_alone_only_if_its_answer_fills_no_block(
    max_tokens: int, verdict: Verdict
) -> None:
    run, index = struck_run()
    short = {"prompt_tokens": 20, "max_tokens": max_tokens, "first_block": None}
    run.change_request(index + 1, **{**BOOM, **short})
    assert judge(run.history()).verdict is verdict


def test_a_strike_that_changed_nothing_is_none() -> None:
    run, index = struck_run()
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], kind="bit_flip", evidence={"bytes_changed": 0})
    run.change_request(index + 1, **BOOM)
    result = judge(run.history())
    assert (result.verdict, result.figures) == (Verdict.PASS, {"strikes": 0})


def test_a_server_that_died_took_everybody_along_and_is_unknown() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **BOOM)
    run.event("server_exit", code=1)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_records_that_tell_no_first_block_are_unknown() -> None:
    run, _ = struck_run()
    run.change_request(0, first_block=None)
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert gap_kinds(result) == ["blast-radius/blocks-unknown"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("cmpl-load-3-0", "load-3"),
        ("cmpl-load-3-0-8d87c8ec", "load-3"),
        ("1_cmpl-load-3-0-8d87c8ec", "load-3"),
        ("cmpl-load-36-0", "load-36"),
        ("cmpl-golden-load-3-0", None),
        ("cmpl-load-3", None),
        ("load-3-0", None),
        ("kvchaos", None),
    ],
)
def test_the_servers_name_for_a_request_leads_back_to_it(name: str, known: str | None) -> None:
    requests = [good_request(request, "p", "load", 0) for request in ("load-3", "load-36", "golden-1")]
    assert [record.id for record in requests if concerns(name, record)] == ([known] if known else [])
