"""Counters are judged scrape by scrape: a value at the wrong scrape is a verdict on something else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.metrics import MetricLog, parse_key, series_key
from history.records import ScrapeLine

A, B = 'vllm:tokens_total{engine="0"}', 'vllm:tokens_total{engine="1"}'

TIMEOUT = "TimeoutError: timed out"


def line(
    t_ns: int,
    changed: dict[int, float | str] | None = None,
    *,
    new: tuple[str, ...] = (),
    gone: tuple[int, ...] = (),
    incarnation: float | None = 1.0,
    error: str | None = None,
    took_us: int = 0,
) -> ScrapeLine:
    return ScrapeLine(
        t_ns=t_ns,
        mono_ns=t_ns,
        took_us=took_us,
        incarnation=incarnation,
        new=list(new),
        changed=changed or {},
        gone=list(gone),
        error=error,
    )


def two_engines() -> MetricLog:
    """A from the first scrape on, B from the third to the fourth; a failed scrape in between."""
    return MetricLog.from_lines(
        [
            line(10, {0: 5.0}, new=(A,)),
            line(20),
            line(25, error=TIMEOUT),
            line(30, {0: 7.0, 1: 1.0}, new=(B,)),
            line(40, gone=(1,)),
            line(50, {1: 2.0}),
        ]
    )


def test_series_value_persists_until_it_changes() -> None:
    a, b = two_engines()
    assert [a.value(scrape) for scrape in range(5)] == [5, 5, 7, 7, 7]
    assert (a.metric, a.labels) == ("vllm:tokens_total", {"engine": "0"})
    assert b.labels == {"engine": "1"}


def test_absent_series_has_no_value() -> None:
    _, b = two_engines()
    assert [b.value(scrape) for scrape in range(5)] == [None, None, 1, None, 2]


def test_a_failed_scrape_is_no_scrape() -> None:
    log = two_engines()
    assert len(log) == 5
    assert [(failure.t_ns, failure.error) for failure in log.failures] == [(25, TIMEOUT)]


@pytest.mark.parametrize(("t_ns", "scrape"), [(9, None), (10, 0), (19, 0), (25, 1), (30, 2), (999, 4)])
def test_the_scrape_at_a_time_is_the_last_one_before(t_ns: int, scrape: int | None) -> None:
    assert two_engines().scrape_at(t_ns) == scrape


def test_unfinished_scrape_is_not_the_latest_before_a_time() -> None:
    log = MetricLog.from_lines([line(1_000, {0: 5.0}, new=(A,)), line(10_000, {0: 6.0}, took_us=30)])
    assert [log.scrape_at(t_ns) for t_ns in (10_000, 39_999, 40_000)] == [0, 0, 1]


def test_empty_metric_log_has_no_scrape() -> None:
    assert MetricLog().scrape_at(10) is None


def test_total_sums_present_series_and_is_none_without_any() -> None:
    log = two_engines()
    assert [log.total(scrape, "vllm:tokens_total") for scrape in range(5)] == [5, 5, 8, 7, 9]
    assert log.total(3, "vllm:tokens_total", engine="1") is None
    assert log.total(4, "vllm:tokens_total", engine="2") is None
    assert log.total(4, "vllm:tokens") is None


def test_a_series_that_appears_grew_from_zero() -> None:
    log = two_engines()
    assert log.increase(0, 2, "vllm:tokens_total") == 3
    assert log.increase(0, 2, "vllm:tokens_total", engine="1") == 1


def test_an_absent_counter_has_no_increase() -> None:
    log = two_engines()
    assert log.increase(0, 3, "vllm:tokens_total", engine="1") is None
    assert log.increase(0, 3, "nothing_total") is None


@pytest.mark.parametrize("second", [2.0, None])
def test_counter_increase_across_a_restart_is_unknown(second: float | None) -> None:
    log = MetricLog.from_lines([line(1, {0: 5.0}, new=(A,)), line(2, {0: 9.0}, incarnation=second)])
    assert log.increase(0, 1, "vllm:tokens_total") is None


def test_nan_and_infinity_round_trip() -> None:
    log = MetricLog.from_lines([line(1, {0: "NaN"}, new=(A,)), line(2, {0: "+Inf"}), line(3, {0: "-Inf"})])
    (series,) = log
    assert math.isnan(series.value(0) or 0)
    assert [series.value(1), series.value(2)] == [math.inf, -math.inf]


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
LABEL_NAMES = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
# Everything that needs an escape, and what looks like one or like the end of a value.
VALUES = st.text(st.sampled_from('\\"\n n{},=#ü ') | st.characters(codec="utf-8"))


@given(NAMES, st.dictionaries(LABEL_NAMES, VALUES, max_size=4))
def test_series_key_round_trips_with_any_labels(name: str, labels: dict[str, str]) -> None:
    assert parse_key(series_key(name, labels)) == (name, labels)


def test_series_key_is_independent_of_label_order() -> None:
    assert series_key("m", {"b": "2", "a": "1"}) == series_key("m", {"a": "1", "b": "2"})
    assert series_key("m", {}) == "m"


def test_scrape_is_answered_in_an_interval_only_if_fully_inside() -> None:
    log = MetricLog.from_lines(
        [
            line(10_000, took_us=2),
            line(20_000, took_us=2),
            line(30_000, error=TIMEOUT),
            line(40_000, took_us=2),
        ]
    )
    assert [log.answered_within(since, 45_000) for since in (10_000, 10_001, 20_001, 40_001)] == [3, 2, 1, 0]
    assert [log.answered_within(10_000, until) for until in (11_999, 12_000, 41_999, 42_000)] == [0, 1, 2, 3]
    assert log.answered_within(20_001, 39_000) == 0


def test_scrape_is_attempted_in_an_interval_if_it_overlaps() -> None:
    log = MetricLog.from_lines([line(10_000, took_us=2), line(20_000, error="timed out", took_us=20)])
    spans = [(0, 9_999), (0, 10_000), (12_000, 12_500), (12_001, 19_999), (39_000, 50_000), (40_001, 50_000)]
    assert [log.tried_within(*span) for span in spans] == [0, 1, 1, 0, 1, 0]
