"""The server's counters over time, with what the oracles found wrong marked on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from history.metrics import MetricLog
from kvchaos.report.html import measured
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.chart import Chart, Series, Spot, step_chart
from kvchaos.report.html.figures import exact
from kvchaos.report.html.findings import NumberedFinding
from kvchaos.report.html.thin import Point

ALWAYS = (
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:request_success_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
)
"""Shown in every run: without them its counters could not be judged."""
MOST = 18


def counter_charts(log: MetricLog, findings: Sequence[NumberedFinding], axis: TimeAxis) -> dict[str, Chart]:
    """One chart for each metric that a finding names, then the usual ones; by the name of the metric."""
    named = list(dict.fromkeys(finding.finding.metric for finding in findings if finding.finding.metric))
    metrics = list(dict.fromkeys([*named, *ALWAYS]))[:MOST]
    return {
        metric: _chart(log, metric, f"counter-{place}", findings, axis)
        for place, metric in enumerate(metrics, start=1)
    }


def _chart(
    log: MetricLog, metric: str, key: str, findings: Sequence[NumberedFinding], axis: TimeAxis
) -> Chart:
    wrong = list(_spots(metric, findings))
    numbers = ", ".join(str(finding.number) for finding in findings if finding.finding.metric == metric)
    return step_chart(
        key,
        metric.removeprefix("vllm:"),
        f"Violated: see finding {numbers}." if numbers else "",
        [Series("value", measured.changes(_points(log, metric)))],
        axis,
        exact,
        spots=wrong,
    )


def _points(log: MetricLog, metric: str) -> list[Point]:
    """A witness names either a single series or the sum over all series of a metric."""
    single = next((series for series in log if series.key == metric), None)
    if single is not None:
        return measured.one_series(log, single)
    return measured.gauge(log, metric)


def _spots(metric: str, findings: Sequence[NumberedFinding]) -> Iterator[Spot]:
    for finding in findings:
        if finding.finding.metric == metric:
            for t_ns, value in finding.finding.samples:
                yield Spot(t_ns, value, f"finding {finding.number}: {exact(value)}")
