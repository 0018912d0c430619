"""Downsample a series: keep the first, lowest, highest and last point of each bucket. Spikes survive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

SeriesPoint = tuple[int, float | None]
"""(wall clock ns, value); None: nothing is known from here on."""
BUCKETS = 400


def downsample(
    points: Sequence[SeriesPoint], start_ns: int, end_ns: int, buckets: int = BUCKETS
) -> list[SeriesPoint]:
    """At most five points for each of so many equal buckets; unchanged when there are few points already.

    The points are in order of time.
    """
    if len(points) <= buckets:
        return list(points)
    width = max((end_ns - start_ns) / buckets, 1.0)
    kept: list[SeriesPoint] = []
    for _, group in groupby(points, key=lambda point: int((point[0] - start_ns) / width)):
        kept.extend(_extremes(list(group)))
    return kept


def _extremes(points: list[SeriesPoint]) -> Iterator[SeriesPoint]:
    """First, lowest, highest, last, and the first gap, in order of time and each once."""
    known = [(value, index) for index, (_, value) in enumerate(points) if value is not None]
    indexes = {0, len(points) - 1}
    if known:
        indexes |= {min(known)[1], max(known)[1]}
    gap = next((index for index, (_, value) in enumerate(points) if value is None), None)
    if gap is not None:
        indexes.add(gap)
    for index in sorted(indexes):
        yield points[index]
