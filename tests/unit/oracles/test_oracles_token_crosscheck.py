"""accounting must see counts that the client's own and the copies belie, though the server's sums hold."""

from __future__ import annotations

import pytest

from history.records import RequestError, Usage
from history.scenario import FaultSpec, Trigger
from history.verdict import Figures, Verdict
from oracles.accounting import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, phases_of
from tests.support.synthetic_records import (
    ANSWER_TOKENS,
    EXTERNAL_QUERIES,
    EXTERNAL_TOKENS,
    KV_TOKEN_BYTES,
    LENGTH,
    LOAD_BYTES,
    LOCAL_HITS,
    LOCAL_QUERIES,
    LOCAL_TOKENS,
    MS,
    PREEMPTIONS,
    PROMPT_TOKENS,
    PROMPTS,
    TTFT_ALL,
    TTFT_COUNT,
    TTFT_SMALL,
    failure,
    make_plan,
)

BLOCK = 32


def figures(run: Run, rule: str) -> Figures:
    """Of the finding of a rule in the chaos phase."""
    return finding_of(judge(run.history()), f"accounting/{rule}", "chaos").figures


def verdict(run: Run) -> Verdict:
    return judge(run.history()).verdict


def count_first_tokens(run: Run, by: float) -> None:
    for key in (TTFT_SMALL, TTFT_ALL, TTFT_COUNT):
        run.bump(key, by, since=run.scrape_in("chaos") + 3)


@pytest.mark.parametrize("by", [1.0, -1.0])
def test_first_token_count_unlike_client_records_fails(by: float) -> None:
    run = clean_run()
    count_first_tokens(run, by)
    assert figures(run, "first-tokens") == {"client": 4, "server": 4 + by}
    assert "golden" not in phases_of(judge(run.history()))


@pytest.mark.parametrize(
    ("kind", "status"), [("ErrorEvent", 200), ("TruncatedStream", 200), ("InternalServerError", 500)]
)
def test_a_first_token_counted_for_a_request_that_the_server_failed_itself_fails(
    kind: str, status: int
) -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure(kind, "failed by policy", status))
    assert figures(run, "first-tokens") == {"client": 3, "server": 4}


def test_a_first_token_counted_for_a_request_that_the_client_gave_up_passes() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    assert verdict(run) is Verdict.PASS


def test_double_counted_first_token_beside_an_aborted_request_fails() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    count_first_tokens(run, 1.0)
    assert figures(run, "first-tokens")["server"] == 5


def left_in_mid_answer(run: Run) -> None:
    """Its client leaves on purpose, with a token in hand."""
    error = RequestError(kind="Abandoned", status=200, message="given up on purpose after 1 tokens")
    changes = {"outcome": "aborted", "error": error, "usage": None, "finish_reason": None}
    run.change_request(run.first_of("chaos"), **changes)


def test_aborted_request_missing_from_server_counts_fails() -> None:
    run = clean_run()
    left_in_mid_answer(run)
    run.bump(LENGTH, -1.0, since=run.scrape_in("chaos") + 4)
    assert figures(run, "abandoned-requests") == {"client": 4, "server": 3}


def test_aborted_request_may_have_any_finish_reason() -> None:
    run = clean_run()
    left_in_mid_answer(run)
    assert verdict(run) is Verdict.PASS


def test_tier_queries_above_prompt_tokens_fail() -> None:
    run = clean_run()
    run.bump(EXTERNAL_QUERIES, PROMPTS * LOCAL_TOKENS + 1.0, since=run.scrape_in("chaos") + 3)
    sent = PROMPTS * PROMPT_TOKENS
    assert figures(run, "lookups-exceed-prompts") == {"looked_up": sent + 1, "prompt": sent}


def test_aborted_request_may_be_queried_in_the_next_phase() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    for key in (LOCAL_QUERIES, EXTERNAL_QUERIES):
        run.bump(key, PROMPT_TOKENS, since=run.scrape_in("healed") + 3)
        run.bump(key, -PROMPT_TOKENS, since=len(run.scrapes) - 1)
    assert verdict(run) is Verdict.PASS


def test_tokens_from_the_tier_that_were_never_copied_fail() -> None:
    run = clean_run()
    run.bump(LOAD_BYTES, -1.0 * KV_TOKEN_BYTES, since=run.scrape_in("chaos") + 3)
    claimed = PROMPTS * EXTERNAL_TOKENS
    copies = {"claimed": claimed, "copied": claimed - 1, "in_vain": 0}
    assert figures(run, "claimed-exceeds-loaded") == copies


def test_copies_for_a_request_that_was_preempted_may_be_more_than_its_tokens() -> None:
    run = clean_run()
    run.bump(LOAD_BYTES, 64.0 * KV_TOKEN_BYTES, since=run.scrape_in("chaos") + 3)
    assert verdict(run) is Verdict.PASS


def failed_load(blocks: str) -> Run:
    """A run in which one load of four blocks failed, and the server counts none of its tokens."""
    fault = FaultSpec(id="f1", kind="load_failure", trigger=Trigger(nth=(0,)), params={"blocks": blocks})
    run = clean_run(make_plan(faults=(fault,)))
    run.fire("f1", "load_failure", blocks=[17, 18, 19, 20] if blocks == "all" else [17], of=4)
    return run


def assert_in_vain(run: Run, blocks: int) -> None:
    """Exactly these blocks have to be copied beside those that are said to come from the tier."""
    run.bump(LOAD_BYTES, (blocks * BLOCK - 1.0) * KV_TOKEN_BYTES, since=run.scrape_in("chaos") + 3)
    assert figures(run, "claimed-exceeds-loaded")["in_vain"] == blocks * BLOCK
    run.bump(LOAD_BYTES, 1.0 * KV_TOKEN_BYTES, since=run.scrape_in("chaos") + 3)
    assert verdict(run) is Verdict.PASS


@pytest.mark.parametrize(
    ("blocks", "in_vain"), [("last", 1), ("one", 1), ("middle", 2), ("first", 4), ("all", 4)]
)
def test_tokens_whose_load_failed_are_no_tokens_from_the_tier(blocks: str, in_vain: int) -> None:
    assert_in_vain(failed_load(blocks), in_vain)


def test_tokens_of_a_fully_failed_load_are_no_tier_tokens() -> None:
    fault = FaultSpec(id="f1", kind="load_failed", trigger=Trigger(nth=(0,)))
    run = clean_run(make_plan(faults=(fault,)))
    run.fire("f1", "load_failed", blocks=4)
    assert_in_vain(run, 4)


def test_a_load_that_failed_in_another_phase_does_not_count() -> None:
    run = failed_load("last")
    late = run.faults.pop()
    end = next(
        event.t_ns for event in run.events if event.kind == "phase_end" and event.data["phase"] == "chaos"
    )
    run.fire_at(end + MS, "f1", "load_failure", **late.evidence)
    assert "chaos" not in phases_of(judge(run.history()))


def report_cached_tokens(run: Run, cached: int) -> None:
    """The answers of the chaos phase say so many cached tokens in all."""
    first = run.first_of("chaos")
    for index in range(first, first + PROMPTS):
        usage = Usage(
            prompt_tokens=PROMPT_TOKENS,
            completion_tokens=ANSWER_TOKENS,
            cached_tokens=cached // PROMPTS + (cached % PROMPTS if index == first else 0),
        )
        run.change_request(index, usage=usage)


TRULY_CACHED = PROMPTS * (LOCAL_TOKENS + EXTERNAL_TOKENS)


def test_usage_above_cache_hits_and_loads_fails() -> None:
    run = clean_run()
    report_cached_tokens(run, TRULY_CACHED)
    assert verdict(run) is Verdict.PASS
    report_cached_tokens(run, TRULY_CACHED + 1)
    assert figures(run, "usage-exceeds-loaded")["answers"] == TRULY_CACHED + 1


def test_cached_tokens_missing_from_usage_fail() -> None:
    run = clean_run()
    report_cached_tokens(run, TRULY_CACHED - 1)
    assert figures(run, "usage-cached-tokens") == {"answers": TRULY_CACHED - 1, "server": TRULY_CACHED}


def test_copies_without_device_hit_counts_are_unknown() -> None:
    run = clean_run()
    run.drop_metric(LOCAL_HITS)
    gaps = [gap.kind for gap in judge(run.history()).gaps]
    assert "accounting/copies-not-comparable" in gaps
    assert verdict(run) is Verdict.UNKNOWN


@pytest.mark.parametrize(("vllm", "expected"), [("0.24.0", Verdict.PASS), ("0.26.0", Verdict.FAIL)])
def test_cache_hits_count_at_the_last_admission(vllm: str, expected: Verdict) -> None:
    run = clean_run(make_plan(vllm=vllm))
    run.bump(PREEMPTIONS, 1.0, since=run.scrape_in("chaos") + 3)
    report_cached_tokens(run, TRULY_CACHED + 1)
    assert verdict(run) is expected


def test_copies_of_unknown_size_are_unknown() -> None:
    run = clean_run()
    run.plan = run.plan.model_copy(update={"kv_token_bytes": None})
    assert verdict(run) is Verdict.UNKNOWN
