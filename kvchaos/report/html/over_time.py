"""The charts of a run over its time: latency, throughput, queue, caches, the offload tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from history.metrics import MetricLog
from history.reader import History
from history.records import RequestRecord
from kvchaos.report.html import measured
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.chart import Chart, Series, Sign, step_chart
from kvchaos.report.html.figures import byte_rate, number, percent
from kvchaos.report.html.latency_chart import latency_chart, longest_itl, ttft
from kvchaos.report.html.thin import Point
from oracles.views.timeline import NS_PER_S, end_ns

TOP = 4.0
"""Where the crosses of failed requests stand in a chart of latency."""


def charts(history: History, axis: TimeAxis) -> list[Chart]:
    """All charts, in the order of the page."""
    log = history.metrics
    failed = _failed_signs(history.requests, axis)
    return [
        latency_chart(
            "ttft",
            "TTFT",
            "From the scheduled time, logarithmic. ✗ above: a request that failed, at its end.",
            ttft(history.requests),
            failed,
            axis,
        ),
        latency_chart(
            "itl",
            "ITL, longest of each request",
            "The longest time between two tokens by the client, logarithmic.",
            longest_itl(history.requests),
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
    generated = measured.gauge(log, "vllm:generation_tokens_total")
    prompt = measured.gauge(log, "vllm:prompt_tokens_total")
    return step_chart(
        "throughput",
        "Throughput, tokens a second",
        "Growth of the server's own counters.",
        [
            Series("generated", measured.rate(log, generated, axis)),
            Series("prompt", measured.rate(log, prompt, axis)),
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
        "Requests ended, a second",
        "By the client.",
        [Series(label, _ends_a_second(own, axis)) for label, own in lines],
        axis,
        number,
    )


def _ends_a_second(records: Sequence[RequestRecord], axis: TimeAxis) -> list[Point]:
    """Zero where none ended, so that a standstill shows."""
    width = max((axis.end_ns - axis.start_ns) // measured.RATE_BUCKETS, measured.LEAST_RATE_NS)
    counts = Counter((end_ns(record) - axis.start_ns) // width for record in records)
    last = (axis.end_ns - axis.start_ns) // width
    points: list[Point] = [
        (axis.start_ns + bucket * width, counts[bucket] * NS_PER_S / width) for bucket in range(last + 1)
    ]
    return measured.changes([*points, (axis.end_ns, points[-1][1])])


def _queue(log: MetricLog, axis: TimeAxis) -> Chart:
    return step_chart(
        "queue",
        "Requests in the engine",
        "Gauges of the server; they move on an engine step only.",
        [
            Series("running", measured.changes(measured.gauge(log, "vllm:num_requests_running"))),
            Series("waiting", measured.changes(measured.gauge(log, "vllm:num_requests_waiting"))),
        ],
        axis,
        number,
    )


def _cache(log: MetricLog, axis: TimeAxis) -> Chart:
    return step_chart(
        "cache",
        "KV cache on the device, used",
        "At 100 % no block is free: requests wait, or are preempted.",
        [Series("used", measured.changes(measured.gauge(log, "vllm:kv_cache_usage_perc", 100.0)))],
        axis,
        percent,
        top=100.0,
    )


def _sources(log: MetricLog, axis: TimeAxis) -> Chart:
    name = "vllm:prompt_tokens_by_source_total"
    return step_chart(
        "sources",
        "Prompt tokens a second, by source",
        "Computed anew, found in the prefix cache on the device, or loaded from the offload tier.",
        [
            Series(label, measured.rate(log, measured.labelled(log, name, source=source), axis))
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
        "Copies to and from the offload tier",
        "Bytes a second by the server's counters.",
        [
            Series("loaded", measured.rate(log, _copied(log, "load", "CPU_to_GPU"), axis)),
            Series("stored", measured.rate(log, _copied(log, "store", "GPU_to_CPU"), axis)),
        ],
        axis,
        byte_rate,
    )


def _copied(log: MetricLog, direction: str, transfer_type: str) -> list[Point]:
    """Bytes copied, under the name that the release has for them."""
    flat = f"vllm:kv_offload_{direction}_bytes_total"
    if log.find(flat):
        return measured.gauge(log, flat)
    return measured.labelled(log, "vllm:kv_offload_total_bytes_total", transfer_type=transfer_type)


def _failed_signs(records: Sequence[RequestRecord], axis: TimeAxis) -> list[Sign]:
    """One cross for all that failed at one place of the axis."""
    places = Counter(
        round(axis.share(end_ns(record)), 1) for record in records if record.outcome in ("error", "unknown")
    )
    return [
        Sign(at, TOP, f"{count} failed" if count > 1 else "failed") for at, count in sorted(places.items())
    ]
