"""accounting must see sums that do not add up, hits from nowhere, and a ledger apart from the client's."""

from __future__ import annotations

import pytest

from history.plan import ServerSettings
from history.records import Usage
from history.verdict import Verdict
from oracles.accounting import judge
from tests.unit.histories import Run, clean_run
from tests.unit.synthetic import (
    ALWAYS,
    CACHED,
    COMPUTED_SOURCE,
    EXTERNAL_HITS,
    EXTERNAL_QUERIES,
    EXTERNAL_SOURCE,
    GENERATED,
    HOST_TIER,
    KV_TOKEN_BYTES,
    LENGTH,
    LOAD_BYTES,
    LOCAL_HITS,
    LOCAL_QUERIES,
    LOCAL_SOURCE,
    PREEMPTIONS,
    PROMPT,
    PROMPT_TOKENS,
    RECOMPUTED,
    TTFT_COUNT,
    failure,
    make_plan,
)


def told(run: Run) -> str:
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    return " | ".join(witness.text for witness in result.findings)


@pytest.mark.parametrize(
    ("key", "by", "text"),
    [
        (LOCAL_SOURCE, 1_000.0, "by source less 0 recomputed are not the"),
        (RECOMPUTED, 7.0, "less 7 recomputed are not the"),
        (CACHED, 600.0, "cached of 256 prompt tokens"),
        (LOCAL_HITS, 5_000.0, "tokens asked for in vllm:prefix_cache"),
        (EXTERNAL_HITS, 5_000.0, "tokens asked for in vllm:external_prefix_cache"),
        (GENERATED, 1.0, "the client counted 16 generated tokens, the server 17"),
        (GENERATED, -1.0, "the client counted 16 generated tokens, the server 15"),
        (PROMPT, 2.0, "the client counted 256 prompt tokens, the server 258"),
        (HOST_TIER, 32.0, "cached prompt tokens by tier are not the"),
        (LENGTH, -1.0, "the client counted 4 requests answered, the server 3"),
    ],
)
def test_a_wrong_sum_fails_in_the_phase_where_it_arose(key: str, by: float, text: str) -> None:
    run = clean_run()
    run.bump(key, by, since=run.scrape_in("chaos") + 3)
    words = told(run)
    assert text in words
    assert "phase chaos" in words
    assert "phase golden" not in words


def test_a_part_larger_than_the_whole_fails_though_the_sum_holds() -> None:
    """The identity of sums holds with a negative part: 161 computed of a 160-token prompt, say."""
    run = clean_run()
    place = run.scrape_in("chaos") + 3
    run.bump(COMPUTED_SOURCE, 400.0, since=place)
    run.bump(LOCAL_SOURCE, -400.0, since=place)
    words = told(run)
    assert "from local_compute of 256 in total" in words
    assert "from local_cache_hit of 256 in total" in words


def test_a_recomputed_last_token_counted_twice_is_right_in_old_releases() -> None:
    run = clean_run(make_plan(vllm="0.18.0"))
    run.bump(RECOMPUTED, 3.0)
    run.bump(LOCAL_SOURCE, 3.0)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_sum_wrong_between_the_phases_fails_for_the_run() -> None:
    run = clean_run()
    run.bump(GENERATED, 5.0, since=len(run.scrapes) - 1)
    assert told(run) == "run: the client counted 56 generated tokens, the server 61"


def test_a_prompt_with_several_answers_counts_once_for_each() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), choices=2)
    assert "the client counted 320 prompt tokens, the server 256" in told(run)
    since = run.scrape_in("chaos") + 4
    run.bump(PROMPT, float(PROMPT_TOKENS), since)
    run.bump(LOCAL_SOURCE, float(PROMPT_TOKENS), since)
    run.bump(LENGTH, 1.0, since)
    run.bump(TTFT_COUNT, 1.0, since)
    assert judge(run.history()).verdict is Verdict.PASS


def test_tokens_of_a_request_that_was_given_up_may_be_counted_by_the_server_alone() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    assert judge(run.history()).verdict is Verdict.PASS


def test_the_server_never_counts_less_than_the_client_even_when_requests_failed() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "boom"))
    run.bump(GENERATED, -5.0, since=run.scrape_in("chaos") + 4)
    assert "the client counted 12 generated tokens, the server 11" in told(run)


def test_a_failed_request_that_the_server_counts_late_does_not_spoil_the_next_phase() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    run.bump(GENERATED, 4.0, since=run.scrape_in("healed") + 2)
    assert judge(run.history()).verdict is Verdict.PASS


def unique_run(vllm: str) -> Run:
    return clean_run(make_plan(vllm=vllm, workload="unique"))


def test_new_prompts_are_found_in_no_cache() -> None:
    assert judge(unique_run("0.32.0").history()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "keys",
    [
        (LOCAL_HITS,),
        (EXTERNAL_HITS,),
        (LOCAL_SOURCE, PROMPT),
        (EXTERNAL_SOURCE, PROMPT),
    ],
)
def test_a_hit_for_a_prompt_that_never_occurred_fails(keys: tuple[str, ...]) -> None:
    run = unique_run("0.32.0")
    for key in keys:
        run.bump(key, 32.0, since=run.scrape_in("chaos") + 3)
    assert "phase chaos: all prompts are new, yet" in told(run)


def test_prompts_of_an_earlier_phase_may_be_found() -> None:
    run = unique_run("0.32.0")
    earlier, later = run.first_of("golden"), run.first_of("chaos")
    run.change_request(later, prompt_id=run.requests[earlier].prompt_id)
    run.bump(EXTERNAL_HITS, 32.0, since=run.scrape_in("chaos") + 2)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize(("vllm", "verdict"), [("0.24.0", Verdict.PASS), ("0.26.0", Verdict.FAIL)])
def test_a_preempted_request_finds_its_own_blocks_where_its_last_admission_counts(
    vllm: str, verdict: Verdict
) -> None:
    run = unique_run(vllm)
    place = run.scrape_in("chaos") + 3
    run.bump(PREEMPTIONS, 1.0, since=place)
    run.bump(EXTERNAL_SOURCE, 32.0, since=place)
    run.bump(LOAD_BYTES, 32.0 * KV_TOKEN_BYTES, since=place)
    run.bump(COMPUTED_SOURCE, -32.0, since=place)
    assert judge(run.history()).verdict is verdict


def test_tokens_from_an_offload_tier_that_is_off_fail() -> None:
    run = clean_run(make_plan(server=ServerSettings(gpu_blocks=40, offload=False)))
    assert "offload is off, yet" in told(run)


def test_tokens_from_a_prefix_cache_that_is_off_fail() -> None:
    server = ServerSettings(gpu_blocks=40, extra_args=("--no-enable-prefix-caching",))
    assert "prefix caching is off, yet" in told(clean_run(make_plan(server=server)))


def test_a_request_that_was_given_up_may_be_counted_by_tier_alone() -> None:
    run = clean_run()
    run.change_request(run.first_of("healed"), **failure("DeadlineExceeded", "gave up", None))
    run.bump(HOST_TIER, 32.0, since=run.scrape_in("healed") + 2)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize("cached", [-1, 65])
def test_cached_tokens_outside_the_prompt_fail(cached: int) -> None:
    run = clean_run()
    usage = Usage(prompt_tokens=64, completion_tokens=4, cached_tokens=cached)
    record = run.change_request(6, usage=usage)
    assert f"request {record.id}: {cached} cached of 64" in told(run)


def test_a_last_scrape_older_than_the_last_answer_is_unknown() -> None:
    run = clean_run()
    del run.scrapes[run.scrape_in("healed") + 2 :]
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert "run: no scrape" in result.summary
    assert "phase healed: no scrape" in result.summary


def test_a_restart_within_a_phase_is_unknown() -> None:
    run = clean_run()
    for scrape in run.scrapes[run.scrape_in("chaos") + 2 :]:
        scrape.incarnation = 1_800_000_555.0
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert "phase chaos: no scrape of the same server" in result.summary
    assert "phase healed" not in result.summary


@pytest.mark.parametrize(
    "metric", [key for key in ALWAYS if key in (PROMPT, CACHED, GENERATED, LOCAL_HITS, EXTERNAL_QUERIES)]
)
def test_an_absent_metric_is_unknown(metric: str) -> None:
    run = clean_run()
    run.drop_metric(metric)
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert metric in result.summary


def test_sources_that_are_all_absent_are_unknown() -> None:
    run = clean_run()
    run.drop_metric(COMPUTED_SOURCE, LOCAL_SOURCE, EXTERNAL_SOURCE)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_local_queries_are_needed_to_judge_local_hits() -> None:
    run = clean_run()
    run.drop_metric(LOCAL_QUERIES)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("lost", [True, False])
def test_a_record_that_went_with_a_lost_load_worker_is_not_held_against_the_server(lost: bool) -> None:
    run = clean_run()
    (*_, last) = run.history().phases()
    run.requests.pop(run.first_of(last.spec.name))
    if lost:
        run.events = [
            event
            for event in run.events
            if not (event.kind == "phase_end" and event.data["phase"] == last.spec.name)
        ]
    result = judge(run.history())
    assert result.verdict is (Verdict.UNKNOWN if lost else Verdict.FAIL)
    if lost:
        assert f"phase {last.spec.name}: its load never ended" in result.summary


def test_a_sum_of_the_servers_own_that_is_wrong_fails_also_where_the_load_was_lost() -> None:
    run = clean_run()
    run.drop_events("phase_end")
    run.bump(RECOMPUTED, 7.0, since=run.scrape_in("chaos") + 3)
    assert "less 7 recomputed are not the" in told(run)
