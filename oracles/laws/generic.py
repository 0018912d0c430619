"""Laws that hold for series of any server: they do not vanish, gauges have limits, what is unused stays 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from history.metrics import MetricLog, Series
from history.reader import History
from history.scenario import ServerSettings
from history.verdict import metric
from oracles.findings import METRICS, Findings, Rule
from oracles.laws import histograms
from oracles.laws.histograms import UNSEEN

VANISHED = Rule(
    "counters/vanished",
    "Within one incarnation of the server no series vanishes.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
GAUGE_RANGE = Rule(
    "counters/gauge-out-of-range",
    "Each gauge is finite and within its limits.",
    "vLLM documentation",
    (METRICS,),
    UNSEEN,
)
UNUSED = Rule(
    "counters/unused-counter-grew",
    "A counter of something that the run does not use stays 0.",
    "vLLM source",
    (METRICS,),
    UNSEEN,
)
RULES = (VANISHED, histograms.SUM_OUT_OF_BUCKETS, GAUGE_RANGE, UNUSED)


def judge(history: History, found: Findings) -> None:
    """Note what breaks one of the rules above."""
    log = history.metrics
    server = None if history.plan.stack == "attach" else history.plan.scenario.server
    limits = _limits(server, history)
    for series in log:
        _vanished(log, series, found)
        if series.metric in limits:
            _within(log, series, limits[series.metric], found)
        elif series.metric in UNUSED_COUNTERS and not _uses(server, series.metric):
            _unused(log, series, found)
    histograms.judge(history, found)


def _vanished(log: MetricLog, series: Series, found: Findings) -> None:
    for scrape in sorted(series.vanished):
        if scrape and log.incarnations[scrape - 1] == log.incarnations[scrape]:
            text = f"{series.key} vanished, though the server lives"
            found.violation(VANISHED, metric(series.key), text, t_ns=log.times_ns[scrape])


@dataclass(frozen=True, slots=True)
class GaugeLimits:
    """Of a gauge, both included."""

    least: float
    most: float
    whole: bool = False
    """Whether it counts things."""


SHARE = GaugeLimits(0, 1)
STATE = GaugeLimits(0, 1, whole=True)
COUNT = GaugeLimits(0, math.inf, whole=True)
PRESENT = GaugeLimits(1, 1)
GAUGES: Mapping[str, GaugeLimits] = {
    "vllm:kv_cache_usage_perc": SHARE,
    "vllm:kv_offload_cpu_cache_usage_perc": SHARE,
    "vllm:kv_offload_cpu_cache_read_usage_perc": SHARE,
    "vllm:kv_offload_cpu_cache_write_usage_perc": SHARE,
    "vllm:num_requests_running": COUNT,
    "vllm:num_requests_waiting": COUNT,
    "vllm:num_requests_waiting_by_reason": COUNT,
    "vllm:num_requests_kv_fetch_by_stage": COUNT,
    "vllm:engine_sleep_state": STATE,
    "vllm:cache_config_info": PRESENT,
    "python_info": PRESENT,
    "process_max_fds": COUNT,
    "process_open_fds": COUNT,
    "process_resident_memory_bytes": COUNT,
    "process_virtual_memory_bytes": COUNT,
    "process_start_time_seconds": GaugeLimits(0, math.inf),
}
RUNNING = "vllm:num_requests_running"
WAITING = (
    "vllm:num_requests_waiting",
    "vllm:num_requests_waiting_by_reason",
    "vllm:num_requests_kv_fetch_by_stage",
)
UNRECORDED = 100
UNUSED_COUNTERS: Mapping[str, str] = {
    "vllm:mm_cache_queries_total": "--limit-mm-per-prompt",
    "vllm:mm_cache_hits_total": "--limit-mm-per-prompt",
    "vllm:estimated_flops_per_gpu_total": "--enable-mfu-metrics",
    "vllm:estimated_read_bytes_per_gpu_total": "--enable-mfu-metrics",
    "vllm:estimated_write_bytes_per_gpu_total": "--enable-mfu-metrics",
    "vllm:admission_rejections_total": "--max-num-queued-reqs",
}
"""Counters that stay 0 on a server of a text model without the option."""


def _limits(server: ServerSettings | None, history: History) -> Mapping[str, GaugeLimits]:
    """A request that runs has a block at least, and a server may have a lower limit yet.

    No more requests wait than were sent, with room for some that have no record.
    """
    if server is None:
        return GAUGES
    most = server.gpu_blocks
    for option, value in zip(server.extra_args, server.extra_args[1:], strict=False):
        if option == "--max-num-seqs" and value.isdigit():
            most = min(most, int(value))
    sent = sum(max(record.choices, 1) for record in history.requests)
    waiting = GaugeLimits(0, 2 * sent + UNRECORDED, whole=True)
    return {**GAUGES, **dict.fromkeys(WAITING, waiting), RUNNING: GaugeLimits(0, most, whole=True)}


def _within(log: MetricLog, series: Series, limits: GaugeLimits, found: Findings) -> None:
    at, values = series.present()
    found.checked += len(at)
    odd = np.isinf(values) | (values < limits.least) | (values > limits.most)
    if limits.whole:
        odd |= values != np.round(values)
    for index in np.flatnonzero(odd).tolist():
        value, scrape = float(values[index]), int(at[index])
        text = f"{series.key} is {value:g}, its limits are {limits.least:g} and {limits.most:g}"
        sample = (log.times_ns[scrape], value)
        found.violation(GAUGE_RANGE, metric(series.key), text, samples=[sample], t_ns=sample[0])


def _uses(server: ServerSettings | None, counter: str) -> bool:
    """Whether the server may count something. What a server that was there before uses is not known."""
    if server is None:
        return True
    return any(argument.startswith(UNUSED_COUNTERS[counter]) for argument in server.extra_args)


def _unused(log: MetricLog, series: Series, found: Findings) -> None:
    at, values = series.present()
    found.checked += len(at)
    for index in np.flatnonzero(values > 0).tolist()[:1]:
        sample = (log.times_ns[int(at[index])], float(values[index]))
        text = f"{series.key} is {sample[1]:g}, and the run uses nothing that it counts"
        found.violation(UNUSED, metric(series.key), text, samples=[sample], t_ns=sample[0])
