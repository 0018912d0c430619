"""Fewer points for the same picture: of each stretch the first, lowest, highest and last. Spikes survive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

Point = tuple[int, float | None]
"""(wall clock ns, value); None: nothing is known from here on."""
BUCKETS = 400


def thin(points: Sequence[Point], start_ns: int, end_ns: int, buckets: int = BUCKETS) -> list[Point]:
    """At most five points for each of so many equal stretches; as they are when they are few already.

    The points are in order of time.
    """
    if len(points) <= buckets:
        return list(points)
    width = max((end_ns - start_ns) / buckets, 1.0)
    kept: list[Point] = []
    for _, group in groupby(points, key=lambda point: int((point[0] - start_ns) / width)):
        kept.extend(_outline(list(group)))
    return kept


def _outline(points: list[Point]) -> Iterator[Point]:
    """First, lowest, highest, last, and the first gap, in order of time and each once."""
    known = [(value, place) for place, (_, value) in enumerate(points) if value is not None]
    places = {0, len(points) - 1}
    if known:
        places |= {min(known)[1], max(known)[1]}
    gap = next((place for place, (_, value) in enumerate(points) if value is None), None)
    if gap is not None:
        places.add(gap)
    for place in sorted(places):
        yield points[place]
