"""Laws that hold for series of any server.

Series do not vanish, the sums of histograms fit their buckets, gauges have limits, and what is unused stays
0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from history.columnar import Flags, Values
from history.metrics import MetricLog, Series
from history.reader import History
from history.scenario import ServerSettings
from history.verdict import metric
from oracles.findings import METRICS, Findings, Rule
from oracles.views.timeline import before_the_run
from oracles.views.windows import phase_windows, run_window

UNSEEN = "the server's own counters were never scraped"
VANISHED = Rule(
    "counters/vanished",
    "Within one incarnation of the server no series vanishes.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
SUM_OUT_OF_BUCKETS = Rule(
    "counters/sum-out-of-buckets",
    "The sum of a histogram grows only with its count, and by no less and no more than its buckets allow.",
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
RULES = (VANISHED, SUM_OUT_OF_BUCKETS, GAUGE_RANGE, UNUSED)


def judge(history: History, found: Findings) -> None:
    """Note what breaks one of the rules above."""
    log = history.metrics
    server = history.plan.scenario.server if history.plan.starts_server else None
    limits = _limits(server, history)
    for series in log:
        _vanished(log, series, found)
        if series.metric in limits:
            _within(log, series, limits[series.metric], found)
        elif series.metric in UNUSED_COUNTERS and not _uses(server, series.metric):
            _unused(log, series, found)
    _histogram_sums(history, found)


def _vanished(log: MetricLog, series: Series, found: Findings) -> None:
    for scrape in sorted(series.vanished):
        if scrape and log.incarnations[scrape - 1] == log.incarnations[scrape]:
            text = f"{series.key} vanished, although the server kept running"
            found.violation(VANISHED, metric(series.key), text, t_ns=log.times_ns[scrape])


@dataclass(frozen=True, slots=True)
class GaugeLimits:
    """Lowest and highest value of a gauge, both allowed."""

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
        text = f"{series.key} is {value:g}, but its limits are {limits.least:g} and {limits.most:g}"
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
        text = f"{series.key} is {sample[1]:g}, but the run uses nothing that it counts"
        found.violation(UNUSED, metric(series.key), text, samples=[sample], t_ns=sample[0])


ROUNDING = 1e-6
"""Allowed error of a sum of floats, as a share of it."""


def _histogram_sums(history: History, found: Findings) -> None:
    """Note sums that their buckets do not allow.

    What an already running server had counted before the run is not judged.
    """
    log, is_fresh = history.metrics, before_the_run(history) is None
    settled = [window.last for window in (run_window(history), *phase_windows(history)) if window.settled]
    for histogram in _histograms(log):
        _sum(log, histogram, settled, is_fresh, found)


@dataclass(slots=True)
class Histogram:
    """Its series; a summary has no buckets."""

    total: Series | None = None
    count: Series | None = None
    buckets: list[Series] = field(default_factory=list)

    @property
    def members(self) -> list[Series]:
        """All series of the histogram that exist, buckets first."""
        return [series for series in (*self.buckets, self.total, self.count) if series is not None]


class Bounds(NamedTuple):
    """What the buckets say of the sum at each scrape."""

    least: Values
    most: Values
    """Highest possible sum, without the observations in the bucket that has no upper edge."""
    endless: Values
    """Number of observations in that bucket."""
    known: Flags


def _histograms(log: MetricLog) -> Iterable[Histogram]:
    found: dict[tuple[str, frozenset[tuple[str, str]]], Histogram] = defaultdict(Histogram)
    for series in log:
        family, _, part = series.metric.rpartition("_")
        labels = frozenset(item for item in series.labels.items() if item[0] != "le")
        if part == "bucket":
            found[family, labels].buckets.append(series)
        elif part == "sum":
            found[family, labels].total = series
        elif part == "count":
            found[family, labels].count = series
    for histogram in found.values():
        if histogram.total is not None and histogram.count is not None:
            histogram.buckets.sort(key=lambda series: float(series.labels.get("le", "+Inf")))
            yield histogram


def _sum(
    log: MetricLog, histogram: Histogram, settled: Iterable[int], is_fresh: bool, found: Findings
) -> None:
    """Judge one histogram, from each scrape that shows it whole to the next.

    What an already running server had counted before the run is not judged.
    """
    total = histogram.total
    if total is None:
        return
    sums, there = total.at_each(len(log))
    bounds = _bounds(histogram, len(log))
    indexes = np.flatnonzero(_whole(len(log), histogram, settled) & there & bounds.known)
    incarnations = np.array([log.incarnations[index] or 0.0 for index in indexes.tolist()])
    sides = (sums, bounds.least, bounds.most, bounds.endless)
    grown, least, most, endless = (_grown(values[indexes], incarnations) for values in sides)
    most = np.where(endless > 0, np.inf, most)
    found.checked += len(indexes)
    allowed = ROUNDING * np.maximum(np.abs(sums[indexes]), 1.0)
    # A sum that shrank breaks another rule.
    wrong = (
        (grown >= 0)
        & (is_fresh | (np.arange(len(indexes)) > 0))
        & ((least - grown > allowed) | (grown - most > allowed))
    )
    for index in np.flatnonzero(wrong).tolist():
        t_ns = log.times_ns[int(indexes[index])]
        text = (
            f"{total.key} grew by {grown[index]:g}, but its buckets allow {least[index]:g} to {most[index]:g}"
        )
        sample = (t_ns, float(sums[indexes[index]]))
        found.violation(SUM_OUT_OF_BUCKETS, metric(total.key), text, samples=[sample], t_ns=t_ns)


def _whole(scrapes: int, histogram: Histogram, settled: Iterable[int]) -> Flags:
    """At which scrapes nothing was counted while they were taken: they show what the scrape before showed."""
    still = np.ones(scrapes, np.bool_)
    still[:1] = False
    for series in histogram.members:
        still[series.at] = False
    still[list(settled)] = True
    return still


def _bounds(histogram: Histogram, scrapes: int) -> Bounds:
    """The least and the greatest sum by the edges of the buckets, and whether all are there."""
    lower, upper, known = np.zeros(scrapes), np.zeros(scrapes), np.ones(scrapes, np.bool_)
    below, endless, edge = np.zeros(scrapes), np.zeros(scrapes), 0.0
    count = histogram.count
    for series in histogram.buckets or ([count] if count is not None else []):
        values, there = series.at_each(scrapes)
        known &= there
        inside, top = values - below, float(series.labels.get("le", "+Inf"))
        lower += inside * edge
        if math.isfinite(top):
            upper += inside * top
        else:
            endless = inside
        below, edge = values, top
    return Bounds(lower, upper, endless, known)


def _grown(values: Values, incarnations: Values) -> Values:
    """The increase of each value since the one before, or since 0 at the begin of an incarnation."""
    before = np.append(0.0, values[:-1])
    before[np.append(True, incarnations[1:] != incarnations[:-1])[: len(before)]] = 0.0
    grown: Values = values - before[: len(values)]
    return grown
