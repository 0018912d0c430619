"""The charts of a run over its time: latency, throughput, queue, caches, the offload tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from history.metrics import MetricLog
from history.reader import History
from history.records import RequestRecord
from kvchaos.report.html import time_charts
from kvchaos.report.html.axis import TimeAxis, byte_rate, number, percent
from kvchaos.report.html.chart import Chart, ChartMarker, ChartSeries, SeriesPoint, step_chart
from kvchaos.report.html.time_charts import latency_chart, max_itl, ttft
from oracles.views.timeline import NS_PER_S, end_ns, ends_ns

FAILED_MARKER_TOP = 4.0
"""Height of the crosses of failed requests in a latency chart."""


def charts(history: History, axis: TimeAxis) -> list[Chart]:
    """All charts, in the order of the page."""
    log = history.metrics
    failed = _failed_markers(history.requests, axis)
    return [
        latency_chart(
            "ttft",
            "TTFT",
            "From the scheduled time, logarithmic. ✗ marks a failed request at its end.",
            ttft(history.requests),
            failed,
            axis,
        ),
        latency_chart(
            "itl",
            "ITL, longest of each request",
            "The longest gap between two tokens at the client, logarithmic.",
            max_itl(history.requests),
            [],
            axis,
        ),
        _throughput(log, axis),
        _ended(history.requests, axis),
        _queue(log, axis),
        _cache(log, axis),
        _sources(log, axis),
        _tier(log, axis),
    ]


def _throughput(log: MetricLog, axis: TimeAxis) -> Chart:
    generated = time_charts.gauge(log, "vllm:generation_tokens_total")
    prompt = time_charts.gauge(log, "vllm:prompt_tokens_total")
    return step_chart(
        "throughput",
        "Throughput, tokens/s",
        "From the server's counters.",
        [
            ChartSeries("generated", time_charts.rate(log, generated, axis)),
            ChartSeries("prompt", time_charts.rate(log, prompt, axis)),
        ],
        axis,
        number,
    )


def _ended(records: Sequence[RequestRecord], axis: TimeAxis) -> Chart:
    good = [record for record in records if record.outcome == "ok"]
    bad = [record for record in records if record.outcome in ("error", "unknown")]
    lines = (("ok", good), ("failed", bad)) if records else ()
    return step_chart(
        "ended",
        "Requests ended per second",
        "Counted by the client.",
        [ChartSeries(label, _ends_a_second(own, axis)) for label, own in lines],
        axis,
        number,
    )


def _ends_a_second(records: Sequence[RequestRecord], axis: TimeAxis) -> list[SeriesPoint]:
    """Zero where none ended, so that a stall is visible."""
    width = max((axis.end_ns - axis.start_ns) // time_charts.RATE_BUCKETS, time_charts.MIN_RATE_NS)
    last = (axis.end_ns - axis.start_ns) // width
    buckets = (ends_ns(records) - axis.start_ns) // width
    counts = np.bincount(buckets[(buckets >= 0) & (buckets <= last)], minlength=last + 1)
    points: list[SeriesPoint] = [
        (axis.start_ns + bucket * width, count * NS_PER_S / width)
        for bucket, count in enumerate(counts.tolist())
    ]
    return time_charts.changes([*points, (axis.end_ns, points[-1][1])])


def _queue(log: MetricLog, axis: TimeAxis) -> Chart:
    return step_chart(
        "queue",
        "Requests in the engine",
        "Gauges of the server, which change only with an engine step.",
        [
            ChartSeries("running", time_charts.changes(time_charts.gauge(log, "vllm:num_requests_running"))),
            ChartSeries("waiting", time_charts.changes(time_charts.gauge(log, "vllm:num_requests_waiting"))),
        ],
        axis,
        number,
    )


def _cache(log: MetricLog, axis: TimeAxis) -> Chart:
    return step_chart(
        "cache",
        "KV cache usage on the device",
        "At 100 %, no block is free: requests wait or are preempted.",
        [ChartSeries("used", time_charts.changes(time_charts.gauge(log, "vllm:kv_cache_usage_perc", 100.0)))],
        axis,
        percent,
        top=100.0,
    )


def _sources(log: MetricLog, axis: TimeAxis) -> Chart:
    name = "vllm:prompt_tokens_by_source_total"
    return step_chart(
        "sources",
        "Prompt tokens/s by source",
        "Computed, found in the prefix cache on the device, or loaded from the offload tier.",
        [
            ChartSeries(label, time_charts.rate(log, time_charts.labelled(log, name, source=source), axis))
            for label, source in (
                ("computed", "local_compute"),
                ("device cache", "local_cache_hit"),
                ("offload tier", "external_kv_transfer"),
            )
        ],
        axis,
        number,
    )


def _tier(log: MetricLog, axis: TimeAxis) -> Chart:
    return step_chart(
        "tier",
        "Copies to and from the CPU tier",
        "Bytes/s, from the server's counters.",
        [
            ChartSeries("loaded", time_charts.rate(log, _copied(log, "load", "CPU_to_GPU"), axis)),
            ChartSeries("stored", time_charts.rate(log, _copied(log, "store", "GPU_to_CPU"), axis)),
        ],
        axis,
        byte_rate,
    )


def _copied(log: MetricLog, direction: str, transfer_type: str) -> list[SeriesPoint]:
    """Bytes copied, under the name that the release has for them."""
    flat = f"vllm:kv_offload_{direction}_bytes_total"
    if log.find(flat):
        return time_charts.gauge(log, flat)
    return time_charts.labelled(log, "vllm:kv_offload_total_bytes_total", transfer_type=transfer_type)


def _failed_markers(records: Sequence[RequestRecord], axis: TimeAxis) -> list[ChartMarker]:
    """One cross for all requests that failed at one position of the axis."""
    positions = Counter(
        round(axis.share(end_ns(record)), 1) for record in records if record.outcome in ("error", "unknown")
    )
    return [
        ChartMarker(at, FAILED_MARKER_TOP, f"{count} failed" if count > 1 else "failed")
        for at, count in sorted(positions.items())
    ]
