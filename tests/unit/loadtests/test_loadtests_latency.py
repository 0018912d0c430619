"""Latency that is counted in a wrong bucket, or twice, misleads whoever watches a run."""

from __future__ import annotations

import msgspec

from loadtests.dispatcher import LatencyHistograms
from loadtests.messages import ITL_BOUNDS_S, TTFT_BOUNDS_S, Counted
from tests.support.synthetic_records import MS, good_request

RECORD = good_request("load-0", "p", "load", 0)
"""First token after 20 ms, and two more events 20 ms apart."""


def by_bound(counted: Counted, bounds: tuple[float, ...]) -> dict[float, int]:
    edges = [*bounds, float("inf")]
    return {edge: count for edge, count in zip(edges, counted.counts, strict=True) if count}


def test_an_answer_is_counted_once_for_its_first_token_and_once_for_each_gap() -> None:
    watch = LatencyHistograms("load")
    watch.ended(RECORD)
    histograms = watch.reading()
    assert (by_bound(histograms.ttft, TTFT_BOUNDS_S), histograms.ttft.sum_s) == ({0.02: 1}, 0.02)
    assert (by_bound(histograms.itl, ITL_BOUNDS_S), histograms.itl.sum_s) == ({0.025: 2}, 0.04)


def test_latency_equal_to_a_bucket_bound_counts_in_that_bucket() -> None:
    watch = LatencyHistograms("load")
    for us in (5_000, 5_001, 61_000_000):
        watch.ended(msgspec.structs.replace(RECORD, first_us=us))
    assert by_bound(watch.reading().ttft, TTFT_BOUNDS_S) == {0.005: 1, 0.01: 1, float("inf"): 1}


def test_the_wait_before_a_late_start_is_part_of_the_ttft() -> None:
    watch = LatencyHistograms("load")
    watch.ended(msgspec.structs.replace(RECORD, start_ns=RECORD.scheduled_ns + 40 * MS))
    assert by_bound(watch.reading().ttft, TTFT_BOUNDS_S) == {0.06: 1}


def test_failed_request_is_not_in_the_latency_histogram() -> None:
    watch = LatencyHistograms("load")
    watch.ended(msgspec.structs.replace(RECORD, outcome="aborted"))
    histograms = watch.reading()
    assert sum(histograms.ttft.counts) == sum(histograms.itl.counts) == 0


def test_several_choices_in_one_stream_record_no_itl() -> None:
    watch = LatencyHistograms("load")
    watch.ended(msgspec.structs.replace(RECORD, choices=2))
    histograms = watch.reading()
    assert (sum(histograms.ttft.counts), sum(histograms.itl.counts)) == (1, 0)


def test_a_reading_does_not_change_afterwards() -> None:
    watch = LatencyHistograms("load")
    before = watch.reading()
    watch.ended(RECORD)
    assert sum(before.ttft.counts) == 0
