"""Charts over time: latency by buckets, the server's gauges, and a chart for each of its counters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from history.columnar import Ints
from history.latency import gaps, latencies, percentile
from history.metrics import MetricLog
from history.metrics import Series as MetricSeries
from history.records import RequestRecord
from kvchaos.report.html.axis import Scale, TimeAxis, exact, milliseconds
from kvchaos.report.html.chart import (
    NO_DATA,
    Chart,
    ChartLine,
    ChartMarker,
    ChartSeries,
    MarkedSample,
    SeriesPoint,
    step_chart,
    y_ticks,
)
from kvchaos.report.html.oracle_rows import NumberedFinding
from oracles.views.timeline import NS_PER_S, first_tokens_ns, totals

NS_PER_US = 1_000
US_PER_MS = 1e3
_START = attrgetter("start_ns")
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
    return TimedLatencies(first_tokens_ns(answered), latencies(answered).ttft)


def max_itl(records: Sequence[RequestRecord]) -> TimedLatencies:
    """The longest gap between two events with tokens of each request, at its end."""
    moments, longest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block in gaps(records):
        us, until_us = block.longest()
        starts = np.fromiter(map(_START, block.records), np.int64, len(block.records))
        moments.append(starts + until_us * NS_PER_US)
        longest.append(us)
    return TimedLatencies(np.concatenate(moments), np.concatenate(longest) / US_PER_MS)


def ranges(measured: TimedLatencies, axis: TimeAxis) -> list[LatencyRange]:
    """At most BUCKETS ranges of the points, in order of time."""
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
            ChartLine("minimum to maximum", 2, _bars(found, axis, scale), value_range, []),
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


MAX_GAP_NS = 5 * NS_PER_S
"""Between two scrapes further apart than this nothing is known."""
RATE_BUCKETS = 200
MIN_RATE_NS = NS_PER_S // 2
"""Rates over less than this would show the scrapes, not the server."""


def gauge(log: MetricLog, metric: str, factor: float = 1.0) -> list[SeriesPoint]:
    """Sum over all series of a metric at each scrape."""
    values = totals(log, metric)
    if factor != 1.0:
        values = [None if value is None else value * factor for value in values]
    return _with_gaps(log, values)


def one_series(log: MetricLog, series: MetricSeries) -> list[SeriesPoint]:
    """A single series at each scrape."""
    values, there = series.at_each(len(log))
    known = zip(values.tolist(), there.tolist(), strict=True)
    return _with_gaps(log, [value if one else None for value, one in known])


def labelled(log: MetricLog, metric: str, **labels: str) -> list[SeriesPoint]:
    """Sum over the series of a metric that carry these labels, at each scrape."""
    return _with_gaps(log, totals(log, metric, **labels))


def rate(log: MetricLog, counter: Sequence[SeriesPoint], axis: TimeAxis) -> list[SeriesPoint]:
    """Growth of a counter a second, over intervals of half a second or more.

    Unknown across a restart of the server and across a gap between scrapes.
    """
    known = [(t_ns, value) for t_ns, value in counter if value is not None]
    if not known:
        return []
    width = max((axis.end_ns - axis.start_ns) // RATE_BUCKETS, MIN_RATE_NS)
    points: list[SeriesPoint] = []
    before_ns, before = known[0]
    for t_ns, value in known[1:]:
        if t_ns - before_ns < width:
            continue
        if t_ns - before_ns > MAX_GAP_NS + width or _incarnation(log, before_ns) != _incarnation(log, t_ns):
            points.append((before_ns, None))
        else:
            points.append((before_ns, (value - before) * NS_PER_S / (t_ns - before_ns)))
        before_ns, before = t_ns, value
    points.append((before_ns, None))
    return points


def changes(points: Sequence[SeriesPoint]) -> list[SeriesPoint]:
    """The points at which a value begins, and the last point."""
    kept = [*points[:1], *(later for earlier, later in pairwise(points) if later[1] != earlier[1])]
    if points and kept[-1] is not points[-1]:
        kept.append(points[-1])
    return kept if any(value is not None for _, value in kept) else []


def _with_gaps(log: MetricLog, values: Sequence[float | None]) -> list[SeriesPoint]:
    """The values with their scrapes' times, and a gap wherever no scrape came for too long."""
    times_ns = log.times_ns
    points: list[SeriesPoint] = []
    begin = 0
    for end in (np.flatnonzero(np.diff(np.array(times_ns, np.int64)) > MAX_GAP_NS) + 1).tolist():
        points += zip(times_ns[begin:end], values[begin:end], strict=True)
        points.append((times_ns[end - 1] + 1, None))
        begin = end
    points += zip(times_ns[begin:], values[begin:], strict=True)
    return points


def _incarnation(log: MetricLog, t_ns: int) -> float | None:
    return log.incarnations[max(bisect_right(log.times_ns, t_ns) - 1, 0)]


DEFAULT_METRICS = (
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:request_success_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
)
"""Shown in every run: without them its counters could not be judged."""
MAX_CHARTS = 18


def counter_charts(log: MetricLog, findings: Sequence[NumberedFinding], axis: TimeAxis) -> dict[str, Chart]:
    """One chart for each metric that a finding names, then the usual ones; by the name of the metric."""
    named = list(dict.fromkeys(finding.finding.metric for finding in findings if finding.finding.metric))
    metrics = list(dict.fromkeys([*named, *DEFAULT_METRICS]))[:MAX_CHARTS]
    return {
        metric: _chart(log, metric, f"counter-{number}", findings, axis)
        for number, metric in enumerate(metrics, start=1)
    }


def _chart(
    log: MetricLog, metric: str, key: str, findings: Sequence[NumberedFinding], axis: TimeAxis
) -> Chart:
    marked = list(_marked_samples(metric, findings))
    numbers = ", ".join(str(finding.number) for finding in findings if finding.finding.metric == metric)
    return step_chart(
        key,
        metric.removeprefix("vllm:"),
        f"Violated: see finding {numbers}." if numbers else "",
        [ChartSeries("value", changes(_points(log, metric)))],
        axis,
        exact,
        samples=marked,
    )


def _points(log: MetricLog, metric: str) -> list[SeriesPoint]:
    """A finding names either a single series or the sum over all series of a metric."""
    single = next((series for series in log if series.key == metric), None)
    if single is not None:
        return one_series(log, single)
    return gauge(log, metric)


def _marked_samples(metric: str, findings: Sequence[NumberedFinding]) -> Iterator[MarkedSample]:
    for finding in findings:
        if finding.finding.metric == metric:
            for t_ns, value in finding.finding.samples:
                yield MarkedSample(t_ns, value, f"finding {finding.number}: {exact(value)}")
