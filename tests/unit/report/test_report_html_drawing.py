"""Drawings must not lie: no spike lost, no gap bridged, no value beside its tick."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvchaos.report.html.axis import HEIGHT, Scale, TimeAxis, byte_rate, exact, milliseconds, number
from kvchaos.report.html.backdrop import number_ranges
from kvchaos.report.html.chart import NO_DATA, ChartSeries, MarkedSample, SeriesPoint, downsample, step_chart
from kvchaos.report.html.time_charts import TimedLatencies, latency_chart, max_itl, ranges
from tests.support.synthetic_records import MS, SECOND, START_NS, good_request

AXIS = TimeAxis(START_NS, START_NS + 10 * SECOND, START_NS)
VALUES = st.lists(st.none() | st.floats(-1e9, 1e9), min_size=1, max_size=300)


def points(values: list[float | None]) -> list[SeriesPoint]:
    return [(START_NS + index * 10 * SECOND // len(values), value) for index, value in enumerate(values)]


@given(VALUES, st.integers(1, 20))
def test_downsampling_keeps_spikes_and_gaps(values: list[float | None], buckets: int) -> None:
    whole = points(values)
    kept = downsample(whole, AXIS.start_ns, AXIS.end_ns, buckets)
    known = [value for value in values if value is not None]
    left = [value for _, value in kept if value is not None]
    assert (max(left, default=None), min(left, default=None)) == (
        max(known, default=None),
        min(known, default=None),
    )
    assert (None in values) == (None in [value for _, value in kept])
    assert kept == sorted(kept, key=lambda point: point[0])
    assert set(kept) <= set(whole)
    assert kept[-1] == whole[-1]


def test_downsampling_bounds_the_points_of_a_long_run() -> None:
    whole = points([float(index % 7) for index in range(100_000)])
    assert len(downsample(whole, AXIS.start_ns, AXIS.end_ns)) <= 5 * 401


@given(st.lists(st.floats(-1e12, 1e12), max_size=20))
def test_every_value_is_within_the_scale_and_its_ticks(values: list[float]) -> None:
    scale = Scale.linear(values)
    ticks = [value for _, value in scale.ticks()]
    slack = 1e-6 * (scale.high - scale.low)
    assert ticks[0] - slack <= min([*values, 0.0])
    assert ticks[-1] + slack >= max([*values, 0.0])
    assert 2 <= len(ticks) <= 7


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_a_logarithmic_scale_spans_its_values_in_decades(values: list[float]) -> None:
    scale = Scale.log(values)
    assert scale.low <= min(values) * (1 + 1e-9)
    assert scale.high >= max(values) * (1 - 1e-9)
    heights = [at for at, _ in scale.ticks()]
    assert heights[0] == HEIGHT
    assert heights[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seconds", [0.0001, 0.3, 1.0, 59.0, 36_000.0])
def test_time_ticks_are_few_and_within_the_axis(seconds: float) -> None:
    axis = TimeAxis(START_NS, START_NS + int(seconds * SECOND), START_NS)
    assert 2 <= len(axis.ticks()) <= 8
    assert all(0 <= tick.at <= 100 for tick in axis.ticks())


def test_line_breaks_at_missing_values() -> None:
    known: list[SeriesPoint] = [(START_NS, 1.0), (START_NS + SECOND, None), (START_NS + 9 * SECOND, 2.0)]
    chart = step_chart("key", "Title", "", [ChartSeries("value", [*known, (AXIS.end_ns, 2.0)])], AXIS, number)
    assert chart.lines[0].path == "M0 50H100M900 0H1000V0"
    assert chart.lines[0].readings[1] == (1.0, None)


def test_nan_values_are_left_out_of_the_chart() -> None:
    odd: list[SeriesPoint] = [(START_NS, math.nan), (START_NS + SECOND, math.inf), (AXIS.end_ns, 4.0)]
    chart = step_chart("key", "Title", "", [ChartSeries("value", odd)], AXIS, number)
    assert "nan" not in chart.lines[0].path
    assert "inf" not in chart.lines[0].path
    assert chart.about == "Title. value: 4"


def test_chart_without_values_shows_no_data() -> None:
    chart = step_chart("key", "Title", "", [ChartSeries("value", [(START_NS, None)])], AXIS, number)
    assert chart.empty
    assert NO_DATA in chart.about


def test_violation_is_marked_at_its_time_and_value() -> None:
    spot = MarkedSample(START_NS + 5 * SECOND, -40.0, "finding 1: -40")
    chart = step_chart(
        "key", "Title", "", [ChartSeries("value", points([0.0, 60.0]))], AXIS, exact, samples=[spot]
    )
    (sign,) = chart.markers
    assert sign.at == 50
    assert sign.top == Scale.linear([0.0, 60.0, -40.0]).height(-40.0) > Scale.linear([60.0, -40.0]).height(0)


def timed(measured: Sequence[tuple[int, float]]) -> TimedLatencies:
    """Of pairs of wall clock ns and ms."""
    moments, times = zip(*measured, strict=True)
    return TimedLatencies(np.array(moments), np.array(times))


def test_latency_chart_keeps_the_maximum_of_an_interval() -> None:
    measured = [(START_NS + index * MS, 10.0) for index in range(30)]
    measured.append((START_NS + 15 * MS, 9000.0))
    (one,) = ranges(timed(measured), AXIS)
    assert (one.low, one.middle, one.high, one.count) == (10.0, 10.0, 9000.0, 31)


def test_the_line_of_medians_does_not_bridge_a_standstill() -> None:
    measured = [(START_NS + seconds * SECOND, 10.0) for seconds in (0, 9)]
    chart = latency_chart("key", "Title", "", timed(measured), [], AXIS)
    assert chart.lines[0].path.count("M") == 2
    assert "L" not in chart.lines[0].path


def test_longest_itl_is_at_the_time_of_its_token() -> None:
    record = good_request("one", "prompt", "load", START_NS)
    found = max_itl([record])
    assert (found.t_ns.tolist(), found.ms.tolist()) == ([START_NS + 40 * MS], [20.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.25), "0.25"),
        (number(52_704.0), "52.7k"),
        (exact(152_704.0), "152704"),
        (milliseconds(20.0), "20 ms"),
        (milliseconds(15_000.0), "15 s"),
        (byte_rate(5e6), "5 MB/s"),
        (number_ranges([1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10"),
    ],
)
def test_figures_are_formatted_for_readers(text: str, expected: str) -> None:
    assert text == expected
