"""accounting must see sums that do not add up, hits from nowhere, and a ledger apart from the client's."""

from __future__ import annotations

import pytest

from history.records import Usage
from history.scenario import ServerSettings
from history.verdict import SERVER, Figures, Finding, Verdict, metric, phase
from oracles.accounting import judge
from oracles.token_crosscheck import BY_SOURCE
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_kinds, gap_of, phases_of
from tests.support.synthetic_records import (
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


def broken(run: Run, rule: str, phase: str | None = None) -> Finding:
    return finding_of(judge(run.history()), f"accounting/{rule}", phase)


@pytest.mark.parametrize(
    ("key", "by", "rule", "figures"),
    [
        (
            LOCAL_SOURCE,
            1_000.0,
            "prompt-tokens-by-source",
            {"by_source": 1256, "recomputed": 0, "total": 256},
        ),
        (RECOMPUTED, 7.0, "prompt-tokens-by-source", {"by_source": 256, "recomputed": 7, "total": 256}),
        (CACHED, 600.0, "cached-exceeds-prompt", {"cached": 792, "total": 256}),
        (LOCAL_HITS, 5_000.0, "hits-exceed-queries", {"hits": 5064, "queries": 256}),
        (EXTERNAL_HITS, 5_000.0, "hits-exceed-queries", {"hits": 5128, "queries": 192}),
        (EXTERNAL_QUERIES, 1.0, "tier-lookups-exceed-misses", {"looked_up": 193, "misses": 192}),
        (LOCAL_HITS, 32.0, "tier-lookups-exceed-misses", {"looked_up": 192, "misses": 160}),
        (GENERATED, 1.0, "generated-tokens", {"client": 16, "server": 17}),
        (GENERATED, -1.0, "generated-tokens", {"client": 16, "server": 15}),
        (PROMPT, 2.0, "prompt-tokens", {"client": 256, "server": 258}),
        (HOST_TIER, 32.0, "cached-tokens-by-tier", {"by_tier": 224, "cached": 192}),
        (LENGTH, -1.0, "finished-requests", {"client": 4, "server": 3}),
    ],
)
def test_wrong_counter_sum_fails_in_its_phase(key: str, by: float, rule: str, figures: Figures) -> None:
    run = clean_run()
    run.bump(key, by, since=run.scrape_in("chaos") + 3)
    assert broken(run, rule, "chaos").figures == figures
    assert "golden" not in phases_of(judge(run.history()))


def test_part_above_its_total_fails_even_with_a_correct_sum() -> None:
    """The identity of sums holds with a negative part: 161 computed of a 160-token prompt, say."""
    run = clean_run()
    index = run.scrape_in("chaos") + 3
    run.bump(COMPUTED_SOURCE, 400.0, since=index)
    run.bump(LOCAL_SOURCE, -400.0, since=index)
    parts = [
        finding.figures
        for finding in judge(run.history()).findings
        if finding.rule == "accounting/source-out-of-range" and finding.phase == "chaos"
    ]
    assert [(set(part), part["total"]) for part in parts] == [
        ({"local_compute", "total"}, 256),
        ({"local_cache_hit", "total"}, 256),
    ]


def test_a_recomputed_last_token_counted_twice_is_right_in_old_releases() -> None:
    run = clean_run(make_plan(vllm="0.18.0"))
    run.bump(RECOMPUTED, 3.0)
    run.bump(LOCAL_SOURCE, 3.0)
    assert judge(run.history()).verdict is Verdict.PASS


def test_wrong_counter_sum_between_phases_fails_for_the_run() -> None:
    run = clean_run()
    run.bump(GENERATED, 5.0, since=len(run.scrapes) - 1)
    finding = broken(run, "generated-tokens")
    assert (finding.phase, finding.figures) == (None, {"client": 56, "server": 61})
    assert judge(run.history()).violations == 1


def test_a_prompt_with_several_answers_counts_once_for_each() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), choices=2)
    assert broken(run, "prompt-tokens", "chaos").figures == {"client": 320, "server": 256}
    since = run.scrape_in("chaos") + 4
    run.bump(PROMPT, float(PROMPT_TOKENS), since)
    run.bump(LOCAL_SOURCE, float(PROMPT_TOKENS), since)
    run.bump(LENGTH, 1.0, since)
    run.bump(TTFT_COUNT, 1.0, since)
    assert judge(run.history()).verdict is Verdict.PASS


def test_server_may_count_tokens_of_an_aborted_request_alone() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    assert judge(run.history()).verdict is Verdict.PASS


def test_the_server_never_counts_less_than_the_client_even_when_requests_failed() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "boom"))
    run.bump(GENERATED, -5.0, since=run.scrape_in("chaos") + 4)
    assert broken(run, "generated-tokens", "chaos").figures == {"client": 12, "server": 11}


def test_late_count_of_a_failed_request_is_allowed_in_the_next_phase() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    run.bump(GENERATED, -4.0, since=run.scrape_in("chaos") + 3)
    run.bump(GENERATED, 4.0, since=run.scrape_in("healed") + 2)
    assert judge(run.history()).verdict is Verdict.PASS


def test_failed_request_explains_at_most_its_max_tokens() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    run.bump(GENERATED, 4.0, since=run.scrape_in("healed") + 2)
    assert broken(run, "generated-tokens").figures == {"client": 52, "server": 60}


def test_a_failed_request_explains_no_more_prompt_tokens_than_it_had() -> None:
    run = clean_run()
    record = run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "gave up", None))
    for key in (PROMPT, COMPUTED_SOURCE):
        run.bump(key, float(record.prompt_tokens), since=run.scrape_in("healed") + 2)
    assert "accounting/prompt-tokens" in judge(run.history()).by_rule


def unique_run(vllm: str) -> Run:
    return clean_run(make_plan(vllm=vllm, workload="unique"))


def test_cache_hit_on_a_new_prompt_fails() -> None:
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
def test_cache_or_tier_hit_in_a_unique_workload_fails(keys: tuple[str, ...]) -> None:
    run = unique_run("0.32.0")
    for key in keys:
        run.bump(key, 32.0, since=run.scrape_in("chaos") + 3)
    assert broken(run, "new-prompt-cached", "chaos").figures == {"growth": 32}


def test_cache_hit_on_a_prompt_of_an_earlier_phase_passes() -> None:
    run = unique_run("0.32.0")
    earlier, later = run.first_of("golden"), run.first_of("chaos")
    run.change_request(later, prompt_id=run.requests[earlier].prompt_id)
    for key in (EXTERNAL_HITS, HOST_TIER, CACHED, EXTERNAL_SOURCE):
        run.bump(key, 32.0, since=run.scrape_in("chaos") + 2)
    run.bump(COMPUTED_SOURCE, -32.0, since=run.scrape_in("chaos") + 2)
    assert "accounting/new-prompt-cached" not in judge(run.history()).by_rule


@pytest.mark.parametrize(("vllm", "verdict"), [("0.24.0", Verdict.PASS), ("0.26.0", Verdict.FAIL)])
def test_preempted_request_may_hit_its_blocks_at_its_last_admission(vllm: str, verdict: Verdict) -> None:
    run = unique_run(vllm)
    index = run.scrape_in("chaos") + 3
    run.bump(PREEMPTIONS, 1.0, since=index)
    run.bump(EXTERNAL_SOURCE, 32.0, since=index)
    run.bump(LOAD_BYTES, 32.0 * KV_TOKEN_BYTES, since=index)
    run.bump(COMPUTED_SOURCE, -32.0, since=index)
    assert judge(run.history()).verdict is verdict


def test_tokens_from_an_offload_tier_that_is_off_fail() -> None:
    run = clean_run(make_plan(server=ServerSettings(gpu_blocks=40, offload=False)))
    finding = broken(run, "hit-in-disabled-cache")
    assert (finding.metric, finding.figures["growth"] > 0) == (BY_SOURCE, True)


def test_tokens_from_a_prefix_cache_that_is_off_fail() -> None:
    server = ServerSettings(gpu_blocks=40, extra_args=("--no-enable-prefix-caching",))
    finding = broken(clean_run(make_plan(server=server)), "hit-in-disabled-cache")
    assert (finding.metric, finding.figures["growth"] > 0) == (BY_SOURCE, True)


def test_aborted_request_may_be_counted_by_the_tier_alone() -> None:
    run = clean_run()
    run.change_request(run.first_of("healed"), **failure("DeadlineExceeded", "gave up", None))
    for key in (HOST_TIER, EXTERNAL_HITS):
        run.bump(key, 32.0, since=run.scrape_in("healed") + 2)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize("cached", [-1, 65])
def test_cached_tokens_outside_the_prompt_fail(cached: int) -> None:
    run = clean_run()
    usage = Usage(prompt_tokens=64, completion_tokens=4, cached_tokens=cached)
    record = run.change_request(6, usage=usage)
    finding = broken(run, "usage-cached-tokens-range")
    assert (finding.request, finding.figures) == (record.id, {"cached": cached, "prompt": 64})


def test_a_last_scrape_older_than_the_last_answer_is_unknown() -> None:
    run = clean_run()
    del run.scrapes[run.scrape_in("healed") + 2 :]
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert gap_kinds(result) == ["accounting/not-settled"] * 2
    assert [gap.subject for gap in result.gaps] == [SERVER, phase("healed")]


def test_a_restart_within_a_phase_is_unknown() -> None:
    run = clean_run()
    for scrape in run.scrapes[run.scrape_in("chaos") + 2 :]:
        scrape.incarnation = 1_800_000_555.0
    result = judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert set(gap_kinds(result)) == {"accounting/not-settled"}
    assert [gap.subject for gap in result.gaps] == [SERVER, phase("chaos")]


@pytest.mark.parametrize(
    "name", [key for key in ALWAYS if key in (PROMPT, CACHED, GENERATED, LOCAL_HITS, EXTERNAL_QUERIES)]
)
def test_an_absent_metric_is_unknown(name: str) -> None:
    run = clean_run()
    run.drop_metric(name)
    assert gap_of(judge(run.history()), "accounting/metric-absent").subject == metric(name)


def test_sources_that_are_all_absent_are_unknown() -> None:
    run = clean_run()
    run.drop_metric(COMPUTED_SOURCE, LOCAL_SOURCE, EXTERNAL_SOURCE)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_local_hits_without_local_queries_are_unknown() -> None:
    run = clean_run()
    run.drop_metric(LOCAL_QUERIES)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("lost", [True, False])
def test_record_lost_with_its_load_worker_is_no_violation(lost: bool) -> None:
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
        assert [gap.subject for gap in result.gaps] == [SERVER, phase(last.spec.name)]
        assert set(gap_kinds(result)) == {"accounting/load-lost"}


def test_wrong_server_sum_fails_even_with_a_lost_load_worker() -> None:
    run = clean_run()
    run.drop_events("phase_end")
    run.bump(RECOMPUTED, 7.0, since=run.scrape_in("chaos") + 3)
    assert broken(run, "prompt-tokens-by-source", "chaos").figures["recomputed"] == 7
