"""A series that freezes, jumps, vanishes or has no law must not pass; a scrape in mid-step must not fail."""

from __future__ import annotations

import json

import pytest

from oracles import accounting, counters
from oracles.laws.families import BOUND, REASONS, family, without_entry
from oracles.laws.relations import LAWS
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of
from tests.support.stored import DATA
from tests.support.synthetic_records import (
    EXTERNAL_HITS,
    GENERATED,
    HOST_TIER,
    LENGTH,
    PROMPT,
    RUNNING,
    TTFT_SUM,
    USAGE,
    failure,
    make_plan,
)

FAMILIES: dict[str, list[str]] = json.loads((DATA / "metric_families.json").read_text())
LATER = "vllm:of_a_later_release_total"
E2E_COUNT = "vllm:e2e_request_latency_seconds_count"
PROMPT_SUM = "vllm:request_prompt_tokens_sum"


@pytest.mark.parametrize("release", sorted(FAMILIES))
def test_every_exported_family_has_a_law_or_an_exemption(release: str) -> None:
    assert without_entry(FAMILIES[release]) == []


def test_unknown_family_is_named_and_does_not_change_the_verdict() -> None:
    run = clean_run()
    run.bump(LATER, 1.0)
    result = counters.judge(run.history())
    assert result.summary.endswith(LATER)
    assert (str(result.verdict), result.figures["without_law"]) == ("pass", 1)


def test_the_parts_of_a_histogram_are_one_family() -> None:
    names = {f"vllm:made_up{part}" for part in ("_bucket", "_count", "_sum")}
    assert {family(name) for name in names} == {"vllm:made_up"}


def test_no_family_that_no_release_has_is_bound() -> None:
    exported = {name for names in FAMILIES.values() for name in names}
    assert set(BOUND) - exported == set()
    assert {law.rule.id for law in LAWS} <= {rule for rules in BOUND.values() for rule in rules}
    assert all(reason for reason in REASONS.values())


def with_ended(run: Run, fewer: float = 0.0, since: int = 0) -> Run:
    """Exports a histogram that counts the requests that ended, but for some."""
    for index, scrape in enumerate(run.scrapes):
        less = fewer if index >= since else 0.0
        scrape.values[E2E_COUNT] = scrape.values[LENGTH] - less
    return run


def test_a_histogram_that_counts_each_request_that_ended_passes() -> None:
    assert "accounting/e2e-latency-count" not in accounting.judge(with_ended(clean_run()).history()).by_rule


def test_a_histogram_that_misses_a_request_that_ended_fails() -> None:
    run = clean_run()
    with_ended(run, 1.0, since=run.scrape_in("chaos") + 3)
    finding = finding_of(accounting.judge(run.history()), "accounting/e2e-latency-count")
    assert finding.figures["right"] - finding.figures["left"] == 1


def test_a_scrape_that_reads_one_series_before_a_step_and_one_after_it_passes() -> None:
    run = clean_run()
    with_ended(run)
    # A scrape at which the server counts: the values change before it and after it.
    index = next(
        index
        for index in range(1, len(run.scrapes) - 1)
        if run.scrapes[index - 1].values[LENGTH] < run.scrapes[index].values[LENGTH]
    )
    run.scrapes[index].values[E2E_COUNT] -= 1
    assert "accounting/e2e-latency-count" not in accounting.judge(run.history()).by_rule


def test_tier_hits_unlike_external_cache_hits_fail() -> None:
    run = clean_run()
    run.bump(HOST_TIER, 32.0, since=run.scrape_in("chaos") + 3)
    assert "accounting/other-tier-hits" in accounting.judge(run.history()).by_rule


def test_a_law_does_not_bind_a_release_that_lacks_its_series() -> None:
    run = clean_run(make_plan(vllm="0.20.0"))
    run.bump(EXTERNAL_HITS, 0.0)
    assert "accounting/other-tier-hits" not in accounting.judge(run.history()).by_rule


def test_series_missing_from_a_live_server_fails() -> None:
    run = clean_run()
    for scrape in run.scrapes[10:]:
        del scrape.values[GENERATED]
    assert "counters/vanished" in counters.judge(run.history()).by_rule


@pytest.mark.parametrize("by", [50.0, 1e9])
def test_a_sum_that_grows_without_its_count_fails(by: float) -> None:
    run = clean_run()
    run.bump(TTFT_SUM, by, since=len(run.scrapes) - 1)
    assert "counters/sum-out-of-buckets" in counters.judge(run.history()).by_rule


@pytest.mark.parametrize(
    ("gauge", "value"), [(USAGE, 1.7), (USAGE, -0.1), (USAGE, float("inf")), (RUNNING, 0.5), (RUNNING, 1e6)]
)
def test_a_gauge_out_of_its_limits_fails(gauge: str, value: float) -> None:
    run = clean_run()
    run.scrapes[8].values[gauge] = value
    assert "counters/gauge-out-of-range" in counters.judge(run.history()).by_rule


def test_counter_of_an_unused_feature_must_stay_zero() -> None:
    run = clean_run()
    run.bump("vllm:mm_cache_hits_total", 1.0, since=5)
    assert "counters/unused-counter-grew" in counters.judge(run.history()).by_rule


def test_finish_reason_counts_unlike_client_records_fail() -> None:
    run = clean_run()
    index = run.scrape_in("chaos") + 3
    run.bump(LENGTH, -1.0, since=index)
    run.bump(LENGTH.replace("length", "stop"), 1.0, since=index)
    assert set(accounting.judge(run.history()).by_rule) == {"accounting/finish-reasons"}


@pytest.mark.parametrize(("less", "is_broken"), [(64.0, False), (65.0, True)])
def test_aborted_request_explains_at_most_its_prompt_tokens(less: float, is_broken: bool) -> None:
    run = clean_run()
    run.change_request(run.first_of("healed"), **failure("DeadlineExceeded", "gave up", None))
    for scrape in run.scrapes:
        scrape.values[PROMPT_SUM] = scrape.values[PROMPT]
    run.bump(PROMPT_SUM, -less, since=run.scrape_in("healed") + 2)
    assert ("accounting/request-prompt-tokens" in accounting.judge(run.history()).by_rule) is is_broken
