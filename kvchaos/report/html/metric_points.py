"""The series of the charts, from the server's metrics. A metric that a release lacks gives a series without
a value."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from history.metrics import MetricLog
from history.series import Series as MetricSeries
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.downsample import SeriesPoint
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
