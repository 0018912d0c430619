"""The server's counters over time, with what the oracles found wrong marked on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from history.metrics import MetricLog
from kvchaos.report.html import metric_points
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.chart import Chart, ChartSeries, MarkedSample, step_chart
from kvchaos.report.html.downsample import SeriesPoint
from kvchaos.report.html.number_format import exact
from kvchaos.report.html.oracle_rows import NumberedFinding

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
        [ChartSeries("value", metric_points.changes(_points(log, metric)))],
        axis,
        exact,
        samples=marked,
    )


def _points(log: MetricLog, metric: str) -> list[SeriesPoint]:
    """A finding names either a single series or the sum over all series of a metric."""
    single = next((series for series in log if series.key == metric), None)
    if single is not None:
        return metric_points.one_series(log, single)
    return metric_points.gauge(log, metric)


def _marked_samples(metric: str, findings: Sequence[NumberedFinding]) -> Iterator[MarkedSample]:
    for finding in findings:
        if finding.finding.metric == metric:
            for t_ns, value in finding.finding.samples:
                yield MarkedSample(t_ns, value, f"finding {finding.number}: {exact(value)}")
