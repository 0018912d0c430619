"""The law of every histogram: its sum fits its buckets."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from history.columnar import Flags, Values
from history.metrics import MetricLog, Series
from history.reader import History
from history.verdict import metric
from oracles.findings import METRICS, Findings, Rule
from oracles.views.timeline import before_the_run
from oracles.views.windows import phase_windows, run_window

UNSEEN = "the server's own counters were never scraped"
SUM_OUT_OF_BUCKETS = Rule(
    "counters/sum-out-of-buckets",
    "The sum of a histogram grows only with its count, and by no less and no more than its buckets allow.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
ROUNDING = 1e-6
"""Of a sum of floats, as a share of it."""


def judge(history: History, found: Findings) -> None:
    """Note sums that their buckets do not allow. What a server that was there before the run had counted by
    then is not judged."""
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
        return [series for series in (*self.buckets, self.total, self.count) if series is not None]


class Bounds(NamedTuple):
    """What the buckets say of the sum at each scrape."""

    least: Values
    most: Values
    """Without the observations in the bucket that has no upper edge;"""
    endless: Values
    """so many."""
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
    """From one scrape to the next of those that show the histogram whole. What a server that was there before
    has counted before the run is not judged."""
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
        text = f"{total.key} grew by {grown[index]:g}; its buckets allow {least[index]:g} to {most[index]:g}"
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
    """By how much each is more than the one before, or, as the first of a life of the server, than 0."""
    before = np.append(0.0, values[:-1])
    before[np.append(True, incarnations[1:] != incarnations[:-1])[: len(before)]] = 0.0
    grown: Values = values - before[: len(values)]
    return grown
