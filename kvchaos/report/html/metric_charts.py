"""The server's metrics over time: the series of the charts, and a chart for each of its counters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from history.metrics import MetricLog
from history.metrics import Series as MetricSeries
from kvchaos.report.html.axis import TimeAxis, exact
from kvchaos.report.html.chart import Chart, ChartSeries, MarkedSample, SeriesPoint, step_chart
from kvchaos.report.html.oracle_rows import NumberedFinding
from oracles.views.timeline import NS_PER_S, totals

MAX_GAP_NS = 5 * NS_PER_S
"""Between two scrapes further apart than this nothing is known."""
RATE_BUCKETS = 200
MIN_RATE_NS = NS_PER_S // 2
"""Rates over less than this would show the scrapes, not the server."""


def gauge(log: MetricLog, metric: str, factor: float = 1.0) -> list[SeriesPoint]:
    """Sum over all series of a metric at each scrape."""
    return _with_gaps(log, [None if total is None else total * factor for total in totals(log, metric)])


def one_series(log: MetricLog, series: MetricSeries) -> list[SeriesPoint]:
    """A single series at each scrape."""
    values, there = series.at_each(len(log))
    known = zip(values.tolist(), there.tolist(), strict=True)
    return _with_gaps(log, [value if one else None for value, one in known])


def labelled(log: MetricLog, metric: str, **labels: str) -> list[SeriesPoint]:
    """Sum over the series of a metric that carry these labels, at each scrape."""
    return _with_gaps(log, totals(log, metric, **labels))


def rate(log: MetricLog, counter: Sequence[SeriesPoint], axis: TimeAxis) -> list[SeriesPoint]:
    """Growth of a counter a second, over intervals of half a second or more. Unknown across a restart of the
    server and across a gap between scrapes."""
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
    kept = [
        point
        for index, point in enumerate(points)
        if index == 0 or index == len(points) - 1 or point[1] != points[index - 1][1]
    ]
    return kept if any(value is not None for _, value in kept) else []


def _with_gaps(log: MetricLog, values: Sequence[float | None]) -> list[SeriesPoint]:
    """The values with their scrapes' times, and a gap wherever no scrape came for too long."""
    points: list[SeriesPoint] = []
    before_ns: int | None = None
    for t_ns, value in zip(log.times_ns, values, strict=True):
        if before_ns is not None and t_ns - before_ns > MAX_GAP_NS:
            points.append((before_ns + 1, None))
        points.append((t_ns, value))
        before_ns = t_ns
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
