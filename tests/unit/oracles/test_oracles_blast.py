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


def test_strike_without_bystander_harm_passes_with_bystander_count() -> None:
    run, _ = struck_run()
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    # Two more of the phase, three of the healed one with other prompts, and the last probe.
    assert result.figures == {"strikes": 1, "nameless": 0, "struck": 1, "bystanders": 6}


def test_struck_request_may_fail_and_sharers_of_its_block_may_differ() -> None:
    run, index = struck_run()
    run.change_request(index, **BOOM)
    sharer = run.first_of("healed") + 1
    assert run.requests[sharer].prompt_id == run.requests[index].prompt_id
    run.change_request(sharer, logprobs=WRONG)
    assert judge(run.history()).verdict is Verdict.PASS


def test_prompt_with_the_same_first_block_is_a_sharer() -> None:
    run, index = struck_run()
    block = run.requests[index].first_block
    run.change_request(index + 1, first_block=block, logprobs=WRONG)
    run.change_request(index + 2, first_block=block, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS


def test_error_of_a_bystander_fails_with_its_request() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **BOOM)
    finding = finding_of(judge(run.history()), "blast-radius/bystander-failed")
    assert finding.request == run.requests[index + 1].id


def test_wrong_answer_to_a_bystander_fails_with_its_position() -> None:
    run, index = struck_run()
    run.change_request(index + 2, logprobs=WRONG)
    result = failed(run)
    assert result.by_rule == {"blast-radius/bystander-wrong-answer": 1}
    assert result.findings[0].figures["position"] == 0


def test_bystander_harm_long_after_the_strike_fails() -> None:
    run, _ = struck_run()
    run.change_request(run.first_of("healed"), **BOOM)
    assert failed(run).violations == 1


def test_harm_before_the_strike_is_not_counted() -> None:
    run, index = struck_run()
    run.change_request(index - 1, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_client_that_gave_up_is_not_harmed() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **{**BOOM, "outcome": "aborted"})
    assert judge(run.history()).verdict is Verdict.PASS


def test_comparison_with_a_struck_answer_is_no_violation() -> None:
    run = clean_run(make_plan(roles=("load", "chaos"), faults=(fault("load_failure"),)))
    first, index = run.first_of("load"), run.first_of("chaos")
    strike(run, first)
    run.change_request(first, logprobs=WRONG, first_block="another")
    assert run.requests[first].prompt_id == run.requests[index].prompt_id
    assert judge(run.history()).verdict is Verdict.PASS


def test_strike_on_several_completions_covers_all_their_requests() -> None:
    run, index = struck_run()
    run.faults.clear()
    names: list[int | str] = [f"cmpl-{run.requests[at].id}-0" for at in (index, index + 1)]
    run.fire_at(run.requests[index].start_ns, "f1", "completion_reorder", requests=names)
    run.change_request(index + 1, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(index + 2, **BOOM)
    assert failed(run).violations == 1


@pytest.mark.parametrize("name", ["", "cmpl-somebody-else-0", "kvchaos"])
def test_strike_on_an_unknown_request_excuses_all_later_requests(name: str) -> None:
    run, index = struck_run()
    strike(run, index + 2, name)
    run.change_request(index + 2, **BOOM)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(index + 1, **BOOM)
    assert failed(run).violations == 1


def test_strikes_without_request_names_are_not_applicable() -> None:
    run = run_with_strikes()
    strike(run, run.first_of("chaos"), "")
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures == {"strikes": 1, "nameless": 1, "struck": 0, "bystanders": 0}


def test_struck_prompt_below_one_block_may_share_blocks_of_its_answer() -> None:
    run, index = struck_run()
    run.change_request(index, prompt_tokens=20, first_block=None)
    run.change_request(index + 1, **BOOM)
    result = judge(run.history())
    assert (result.verdict, result.figures["bystanders"]) == (Verdict.PASS, 0)


@pytest.mark.parametrize(("max_tokens", "verdict"), [(11, Verdict.FAIL), (12, Verdict.PASS)])
def test_prompt_below_one_block_is_unshared_only_if_its_answer_fills_none(
    max_tokens: int, verdict: Verdict
) -> None:
    run, index = struck_run()
    short = {"prompt_tokens": 20, "max_tokens": max_tokens, "first_block": None}
    run.change_request(index + 1, **{**BOOM, **short})
    assert judge(run.history()).verdict is verdict


def test_strike_without_changed_bytes_is_ignored() -> None:
    run, index = struck_run()
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], kind="bit_flip", evidence={"bytes_changed": 0})
    run.change_request(index + 1, **BOOM)
    result = judge(run.history())
    assert (result.verdict, result.figures) == (Verdict.PASS, {"strikes": 0})


def test_server_exit_makes_bystander_harm_unknown() -> None:
    run, index = struck_run()
    run.change_request(index + 1, **BOOM)
    run.event("server_exit", code=1)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_records_without_a_first_block_are_unknown() -> None:
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
def test_server_request_name_leads_to_its_record(name: str, known: str | None) -> None:
    requests = [good_request(request, "p", "load", 0) for request in ("load-3", "load-36", "golden-1")]
    assert [record.id for record in requests if concerns(name, record)] == ([known] if known else [])
