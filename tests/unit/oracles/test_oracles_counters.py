"""counters must see a counter that shrinks, goes below zero, or is no number, and a refusal to lower one."""

from __future__ import annotations

import pytest

from history.records import Event
from history.verdict import Verdict
from oracles.counters import REFUSAL, judge
from tests.support.histories import clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import (
    ALWAYS,
    GENERATED,
    PROMPT,
    RUNNING,
    TTFT_ALL,
    TTFT_COUNT,
    TTFT_SMALL,
    TTFT_SUM,
    USAGE,
    failure,
)

REFUSED = f"{REFUSAL} by non-negative amounts."


@pytest.mark.parametrize(
    ("key", "by"), [(PROMPT, -100.0), (TTFT_COUNT, -2.0), (TTFT_SUM, -0.03), (TTFT_SMALL, -2.0)]
)
def test_a_counter_that_shrinks_fails_with_both_samples(key: str, by: float) -> None:
    run = clean_run()
    run.bump(key, by, since=12)
    finding = finding_of(judge(run.history()), "counters/decreased")
    assert finding.metric is not None
    (_, old), (_, new) = finding.samples
    assert new < old


def test_a_negative_counter_fails() -> None:
    run = clean_run()
    run.bump(PROMPT, -64.0)
    assert finding_of(judge(run.history()), "counters/negative").samples[0][1] < 0


@pytest.mark.parametrize("key", [PROMPT, RUNNING, USAGE])
def test_a_value_that_is_no_number_fails_for_counters_and_gauges(key: str) -> None:
    run = clean_run()
    run.bump(key, float("nan"), since=10)
    assert finding_of(judge(run.history()), "counters/not-a-number").metric == key


def test_gauges_may_fall() -> None:
    run = clean_run()
    run.bump(USAGE, 0.75, since=5)
    run.bump(USAGE, -0.75, since=8)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_restart_may_reset_counters() -> None:
    run = clean_run()
    t_ns = run.scrapes[12].t_ns - 1
    run.events.append(Event(t_ns=t_ns, mono_ns=t_ns, kind="server_start", data={"pid": 100}))
    before = dict(run.scrapes[12].values)
    for scrape in run.scrapes[12:]:
        scrape.incarnation = 1_800_000_555.0
        for key, base in before.items():
            scrape.values[key] -= 0.0 if key in (RUNNING, USAGE) else base
    assert judge(run.history()).verdict is Verdict.PASS


def test_histogram_bucket_below_the_previous_one_fails() -> None:
    run = clean_run()
    run.bump(TTFT_SMALL, 3.0, since=10)
    finding_of(judge(run.history()), "counters/buckets-not-cumulative")


def test_histogram_count_unlike_its_last_bucket_fails() -> None:
    run = clean_run()
    run.bump(TTFT_ALL, 2.0, since=10)
    finding_of(judge(run.history()), "counters/count-not-infinity-bucket")


def test_a_refusal_answered_to_a_client_fails_with_the_request() -> None:
    run = clean_run()
    record = run.change_request(4, **failure("BadRequestError", REFUSED, 400))
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].request == record.id


def test_a_refusal_in_the_log_fails_with_the_line() -> None:
    run = clean_run()
    run.log[1] = f"ValueError: {REFUSED}"
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].log_line == 2


def test_refused_exposition_counts_even_without_a_scrape() -> None:
    run = clean_run()
    run.scrapes.clear()
    run.log[1] = f"ValueError: {REFUSED}"
    assert judge(run.history()).verdict is Verdict.FAIL


def test_python_runtime_counters_alone_are_unknown() -> None:
    run = clean_run()
    run.bump("python_gc_collections_total", 3.0)
    run.drop_metric(*ALWAYS, *(key for key in run.server if key.startswith("vllm:")))
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_growing_counter_is_counted_as_checked() -> None:
    run = clean_run()
    run.bump(GENERATED, 5.0, since=8)
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.checked > len(run.scrapes)


def test_mostly_failed_scrapes_of_a_live_server_are_unknown() -> None:
    """Between failed scrapes a counter may fall and rise again."""
    run = clean_run()
    run.scrapes[3].failed = True
    assert judge(run.history()).verdict is Verdict.PASS
    for scrape in run.scrapes[3:9]:
        scrape.failed = True
    assert gap_of(judge(run.history()), "counters/scrapes-failed").figures["failed"] == 6
