"""outcomes must see every way in which one request can end wrong."""

from __future__ import annotations

import msgspec
import pytest

from history.records import RequestError, Usage
from history.verdict import Figures, Verdict, phase
from oracles.outcomes import judge
from tests.support.histories import clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import ANSWER_TOKENS, PROMPT_TOKENS, failure, good_request, make_plan

ENDLESS, NO_NUMBER = float("-inf"), float("nan")
BROKEN: list[tuple[str, dict[str, object], str, Figures]] = [
    ("error status", failure("InternalServerError", "boom", 500), "request-failed", {"status": 500}),
    ("no response", failure("ConnectError", "refused", None), "request-failed", {}),
    ("error under 200", failure("ErrorBody", "EngineDeadError", 200), "truncated-stream", {"tokens": 0}),
    (
        "cut stream",
        {"outcome": "error", "error": None, "finish_reason": None},
        "truncated-stream",
        {"tokens": 4},
    ),
    (
        "ok in spite of an error",
        {"error": RequestError(kind="x", status=200, message="y")},
        "inconsistent-status",
        {"status": 200},
    ),
    ("ok with a bad status", {"status": 500}, "inconsistent-status", {"status": 500}),
    ("no usage", {"usage": None}, "usage-missing", {}),
    (
        "usage of tokens",
        {"usage": Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=3)},
        "completion-tokens",
        {"usage": 3, "stream": 4},
    ),
    (
        "usage of prompt",
        {"usage": Usage(prompt_tokens=65, completion_tokens=ANSWER_TOKENS)},
        "prompt-tokens",
        {"usage": 65, "sent": 64},
    ),
    ("finish reason", {"finish_reason": "abort"}, "finish-reason", {}),
    ("no finish reason", {"finish_reason": None}, "finish-reason", {}),
    ("cut short", {"max_tokens": 9}, "too-few-tokens", {"tokens": 4, "requested": 9}),
    ("too long", {"max_tokens": 3}, "too-many-tokens", {"tokens": 4, "requested": 3}),
    ("chunk sum", {"chunk_tokens": [1, 1, 1]}, "stream-inconsistent", {"tokens_by_chunk": 3, "tokens": 4}),
    ("chunk count", {"chunk_us": [20_000, 40_000]}, "stream-inconsistent", {"times": 2, "chunks": 3}),
    ("chunk order", {"chunk_us": [20_000, 19_000, 60_000]}, "stream-inconsistent", {"falls": 1}),
    ("few logprobs", {"logprobs": [-0.5, -0.25, -1.75]}, "logprobs", {"logprobs": 3, "tokens": 4}),
    ("no logprobs", {"logprobs": []}, "logprobs", {"logprobs": 0, "tokens": 4}),
    ("endless logprob", {"logprobs": [-0.5, ENDLESS, -1.0, -1.0]}, "logprobs", {"position": 1}),
    ("no number", {"logprobs": [-0.5, -0.5, NO_NUMBER, -1.0]}, "logprobs", {"position": 2}),
    ("positive logprob", {"logprobs": [0.5, -0.5, -0.5, -1.0]}, "logprobs", {"position": 0, "logprob": 0.5}),
]


@pytest.mark.parametrize(
    ("changes", "rule", "figures"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_a_broken_request_fails_with_its_id(changes: dict[str, object], rule: str, figures: Figures) -> None:
    run = clean_run()
    record = run.change_request(5, **changes)
    result = judge(run.history())
    assert finding_of(result, f"outcomes/{rule}").figures == figures
    assert {witness.request for witness in result.findings} == {record.id}


def test_two_records_of_one_request_fail() -> None:
    run = clean_run()
    run.change_request(2, id=run.requests[3].id)
    assert finding_of(judge(run.history()), "outcomes/duplicate-record").figures == {"records": 2}


def test_a_request_that_left_no_record_fails() -> None:
    run = clean_run()
    run.requests.pop(run.first_of("chaos"))
    finding = finding_of(judge(run.history()), "outcomes/record-missing")
    assert (finding.subject, finding.figures) == (phase("chaos"), {"sent": 4, "recorded": 3})


def test_a_phase_that_sent_fewer_requests_than_planned_is_unknown() -> None:
    """Client and conductor agree on what was sent, and both have lost a request of the plan."""
    run = clean_run()
    run.requests.pop(run.first_of("chaos"))
    run.events = [
        msgspec.structs.replace(event, data={**event.data, "sent": 3, "ok": 3})
        if (event.kind, event.data.get("phase")) == ("phase_end", "chaos")
        else event
        for event in run.events
    ]
    gap = gap_of(judge(run.history()), "outcomes/load-not-sent")
    assert (gap.subject, gap.figures) == (phase("chaos"), {"planned": 4, "sent": 3})


ABORTED: dict[str, object] = {
    "outcome": "aborted",
    "finish_reason": None,
    "usage": None,
    "logprobs": [],
    "token_ids": [],
}


def test_an_abort_on_purpose_is_no_violation() -> None:
    run = clean_run(make_plan(workload="abort_mix"))
    run.change_request(4, **ABORTED)
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures["aborted"] == 1


def test_client_abort_in_a_phase_without_aborts_is_unknown() -> None:
    """A failure that was written down as an abort is no pass."""
    run = clean_run()
    run.change_request(run.first_of("chaos"), **ABORTED)
    gap = gap_of(judge(run.history()), "outcomes/aborted-for-no-reason")
    assert (gap.subject, gap.figures) == (phase("chaos"), {"requests": 1})


def test_load_that_was_stopped_with_its_phase_is_no_gap() -> None:
    run = clean_run()
    stopped = RequestError(kind="StoppedEarly", status=None, message="the load was stopped")
    run.change_request(run.first_of("chaos"), **{**ABORTED, "error": stopped})
    assert judge(run.history()).verdict is Verdict.UNKNOWN
    run.change_event("phase_end", reason="stalled")
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_stop_is_false_where_no_request_has_stops() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), finish_reason="stop")
    finding_of(judge(run.history()), "outcomes/false-stop")
    run = clean_run(make_plan(workload="parameter_mix"))
    run.change_request(run.first_of("chaos"), finish_reason="stop")
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("cached", "broken"), [(0, False), (32, False), (63, False), (64, False), (31, True), (33, True)]
)
def test_cached_tokens_are_full_blocks_or_all_but_one_token(cached: int, broken: bool) -> None:
    """A prompt that lies in the cache whole has its last token computed all the same."""
    run = clean_run()
    usage = Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=ANSWER_TOKENS, cached_tokens=cached)
    run.change_request(run.first_of("chaos"), usage=usage)
    assert ("outcomes/partial-block" in judge(run.history()).by_rule) is broken


def test_block_size_of_an_attached_server_is_not_assumed() -> None:
    run = clean_run()
    run.plan = run.plan.model_copy(update={"stack": "attach"})
    usage = Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=ANSWER_TOKENS, cached_tokens=16)
    run.change_request(run.first_of("chaos"), usage=usage)
    assert judge(run.history()).by_rule == {}


def test_a_request_with_an_unknown_end_is_unknown() -> None:
    run = clean_run()
    run.change_request(4, outcome="unknown", finish_reason=None)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_answer_that_fills_the_context_may_be_below_max_tokens() -> None:
    run = clean_run()
    context = make_plan().scenario.server.max_model_len
    prompt = context - ANSWER_TOKENS
    usage = Usage(prompt_tokens=prompt, completion_tokens=ANSWER_TOKENS)
    run.change_request(5, max_tokens=9, prompt_tokens=prompt, usage=usage)
    assert judge(run.history()).verdict is Verdict.PASS


def test_token_limit_is_max_tokens_times_choices() -> None:
    run = clean_run()
    run.change_request(5, choices=2, max_tokens=2)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(5, choices=2, max_tokens=3)
    few = finding_of(judge(run.history()), "outcomes/too-few-tokens")
    assert few.figures == {"tokens": 4, "requested": 6}
    run.change_request(5, choices=3, max_tokens=1)
    many = finding_of(judge(run.history()), "outcomes/too-many-tokens")
    assert many.figures == {"tokens": 4, "requested": 3}


def test_conductor_requests_need_no_logprobs() -> None:
    run = clean_run()
    run.change_request(0, logprobs=[])
    assert run.requests[0].phase == "probe"
    assert judge(run.history()).verdict is Verdict.PASS


def test_conductor_requests_do_not_count_for_a_phase() -> None:
    run = clean_run()
    run.requests.append(good_request("drain-1", "drain", "probe", run.now_ns))
    assert judge(run.history()).verdict is Verdict.PASS
