"""outcomes must see every way in which one request can end wrong."""

from __future__ import annotations

import pytest

from history.records import RequestError, Usage
from history.verdict import Verdict
from oracles.outcomes import judge
from tests.unit.histories import clean_run
from tests.unit.synthetic import ANSWER_TOKENS, PROMPT_TOKENS, failure, good_request, make_plan

BROKEN: list[tuple[str, dict[str, object], str]] = [
    ("error status", failure("InternalServerError", "boom", 500), "failed with status 500"),
    ("no response", failure("ConnectError", "refused", None), "failed with status None"),
    ("error under 200", failure("ErrorBody", "EngineDeadError", 200), "HTTP 200, yet no whole answer"),
    ("cut stream", {"outcome": "error", "error": None, "finish_reason": None}, "after 4 tokens"),
    ("ok in spite of an error", {"error": RequestError(kind="x", status=200, message="y")}, "counted as ok"),
    ("ok with a bad status", {"status": 500}, "counted as ok"),
    ("no usage", {"usage": None}, "no usage"),
    ("usage of tokens", {"usage": Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=3)}, "3 completion"),
    ("usage of prompt", {"usage": Usage(prompt_tokens=65, completion_tokens=ANSWER_TOKENS)}, "65 prompt"),
    ("finish reason", {"finish_reason": "abort"}, "finish reason abort"),
    ("no finish reason", {"finish_reason": None}, "finish reason None"),
    ("cut short", {"max_tokens": 9}, "cut for length after 4 of 9"),
    ("too long", {"max_tokens": 3}, "at most 3"),
    ("chunk sum", {"chunk_tokens": [1, 1, 1]}, "3 tokens by chunk, 4 in all"),
    ("chunk count", {"chunk_us": [20_000, 40_000]}, "2 chunk times for 3 chunks"),
    ("chunk order", {"chunk_us": [20_000, 19_000, 60_000]}, "backwards"),
    ("few logprobs", {"logprobs": [-0.5, -0.25, -1.75]}, "3 logprobs for 4 tokens"),
    ("no logprobs", {"logprobs": []}, "0 logprobs for 4 tokens"),
    ("endless logprob", {"logprobs": [-0.5, float("-inf"), -1.0, -1.0]}, "logprob -inf at position 1"),
    ("no number", {"logprobs": [-0.5, -0.5, float("nan"), -1.0]}, "logprob nan at position 2"),
    ("positive logprob", {"logprobs": [0.5, -0.5, -0.5, -1.0]}, "logprob 0.5 at position 0"),
]


@pytest.mark.parametrize(("changes", "told"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_request_fails_with_its_id(changes: dict[str, object], told: str) -> None:
    run = clean_run()
    record = run.change_request(5, **changes)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert told in " ".join(witness.text for witness in result.findings)
    assert {witness.request for witness in result.findings} == {record.id}


def test_two_records_of_one_request_fail() -> None:
    run = clean_run()
    run.change_request(2, id=run.requests[3].id)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert "has 2 records" in result.summary


def test_a_request_that_left_no_record_fails() -> None:
    run = clean_run()
    run.requests.pop(run.first_of("chaos"))
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert "phase chaos: 4 requests sent, 3 recorded" in result.summary


def test_an_abort_on_purpose_is_no_violation() -> None:
    run = clean_run()
    run.change_request(4, outcome="aborted", finish_reason=None, usage=None, logprobs=[], token_ids=[])
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert "(1 aborted on purpose)" in result.summary


def test_a_request_with_an_unknown_end_is_unknown() -> None:
    run = clean_run()
    run.change_request(4, outcome="unknown", finish_reason=None)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_an_answer_that_fills_the_context_may_be_shorter_than_asked() -> None:
    run = clean_run()
    context = make_plan().scenario.server.max_model_len
    prompt = context - ANSWER_TOKENS
    usage = Usage(prompt_tokens=prompt, completion_tokens=ANSWER_TOKENS)
    run.change_request(5, max_tokens=9, prompt_tokens=prompt, usage=usage)
    assert judge(run.history()).verdict is Verdict.PASS


def test_several_answers_may_be_as_long_as_asked_for_together() -> None:
    run = clean_run()
    run.change_request(5, choices=2, max_tokens=2)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(5, choices=2, max_tokens=3)
    assert "cut for length after 4 of 6" in judge(run.history()).summary
    run.change_request(5, choices=3, max_tokens=1)
    assert "at most 3" in judge(run.history()).summary


def test_the_conductors_own_requests_may_go_without_logprobs() -> None:
    run = clean_run()
    run.change_request(0, logprobs=[])
    assert run.requests[0].phase == "canary"
    assert judge(run.history()).verdict is Verdict.PASS


def test_the_conductors_own_requests_do_not_count_as_a_phases() -> None:
    run = clean_run()
    run.requests.append(good_request("drain-1", "drain", "canary", run.now_ns))
    assert judge(run.history()).verdict is Verdict.PASS
