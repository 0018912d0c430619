"""Latency over time: minimum, median and maximum of each time bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from history.columnar import Ints
from history.latency import gaps, latencies, percentile
from history.records import RequestRecord
from kvchaos.report.html.axis import Scale, TimeAxis, milliseconds
from kvchaos.report.html.chart import NO_DATA, Chart, ChartLine, ChartMarker, y_ticks

NS_PER_US = 1_000
US_PER_MS = 1e3
BUCKETS = 240
MAX_EMPTY_BUCKETS = 12
"""So many buckets without a value break the line through the medians."""


@dataclass(frozen=True, slots=True)
class TimedLatencies:
    """Latencies, and when each was measured."""

    t_ns: Ints
    """Wall clock."""
    ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LatencyRange:
    """The latencies of one time bucket, ms."""

    at_ns: int
    low: float
    middle: float
    high: float
    count: int


def ttft(records: Iterable[RequestRecord]) -> TimedLatencies:
    """TTFT, at the moment when the first token came."""
    answered = [record for record in records if record.first_us is not None]
    moments = ((record.start_ns + (record.first_us or 0) * NS_PER_US) for record in answered)
    return TimedLatencies(np.fromiter(moments, np.int64, len(answered)), latencies(answered).ttft)


def max_itl(records: Sequence[RequestRecord]) -> TimedLatencies:
    """The longest gap between two events with tokens of each request, at its end."""
    moments, longest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block in gaps(records):
        us, until_us = block.longest()
        starts = np.fromiter((record.start_ns for record in block.records), np.int64, len(block.records))
        moments.append(starts + until_us * NS_PER_US)
        longest.append(us)
    return TimedLatencies(np.concatenate(moments), np.concatenate(longest) / US_PER_MS)


def ranges(measured: TimedLatencies, axis: TimeAxis) -> list[LatencyRange]:
    """At most BUCKETS of them, in order of time."""
    width = max((axis.end_ns - axis.start_ns) / BUCKETS, 1.0)
    buckets = ((measured.t_ns - axis.start_ns) / width).astype(np.int64)
    order = np.lexsort((measured.ms, buckets))
    buckets, values = buckets[order], measured.ms[order]
    bounds = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(values)]
    return [
        _range(axis.start_ns + int((int(buckets[first]) + 0.5) * width), values[first:end].tolist())
        for first, end in pairwise(bounds)
        if first < end
    ]


def _range(at_ns: int, ordered: Sequence[float]) -> LatencyRange:
    return LatencyRange(at_ns, ordered[0], percentile(ordered, 50) or 0.0, ordered[-1], len(ordered))


def latency_chart(
    key: str,
    title: str,
    note: str,
    measured: TimedLatencies,
    failed: Iterable[ChartMarker],
    axis: TimeAxis,
) -> Chart:
    """Bars from least to greatest and a line through the middles, on a logarithmic scale."""
    found = ranges(measured, axis)
    scale = Scale.log(value for one in found for value in (one.low, one.high))
    lows, highs = [one.low for one in found], [one.high for one in found]
    value_range = f"{milliseconds(min(lows))} to {milliseconds(max(highs))}" if found else NO_DATA
    return Chart(
        key=key,
        title=title,
        note=note,
        x_ticks=axis.ticks(),
        y_ticks=y_ticks(scale, milliseconds) if found else [],
        lines=[
            ChartLine("median", 1, _middles(found, axis, scale), _medians(found), _readings(found, axis)),
            ChartLine("least to greatest", 2, _bars(found, axis, scale), value_range, []),
        ],
        markers=list(failed),
        symbol="✗",
    )


def _middles(found: list[LatencyRange], axis: TimeAxis, scale: Scale) -> str:
    """Broken where nothing was measured for longer."""
    longest = (axis.end_ns - axis.start_ns) * MAX_EMPTY_BUCKETS / BUCKETS
    parts: list[str] = []
    before_ns: int | None = None
    for one in found:
        goes_on = before_ns is not None and one.at_ns - before_ns <= longest
        parts.append(f"{'L' if goes_on else 'M'}{axis.x(one.at_ns)} {scale.height(one.middle):.4g}")
        before_ns = one.at_ns
    return "".join(parts)


def _bars(found: list[LatencyRange], axis: TimeAxis, scale: Scale) -> str:
    """A bar of one value still has a height, so that it is visible."""
    bars: list[str] = []
    for one in found:
        top, bottom = scale.height(one.high), scale.height(one.low)
        bars.append(f"M{axis.x(one.at_ns)} {top - 0.8:.4g}V{bottom + 0.8:.4g}")
    return "".join(bars)


def _medians(found: list[LatencyRange]) -> str:
    if not found:
        return NO_DATA
    middles = [one.middle for one in found]
    return f"{milliseconds(min(middles))} to {milliseconds(max(middles))}"


def _readings(found: list[LatencyRange], axis: TimeAxis) -> list[tuple[float, str | None]]:
    return [
        (
            round(axis.seconds(one.at_ns), 3),
            f"{milliseconds(one.middle)} ({milliseconds(one.low)} to {milliseconds(one.high)}, {one.count})",
        )
        for one in found
    ]
