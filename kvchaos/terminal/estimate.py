"""Estimates how long the remaining runs of a campaign take, from those that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

COARSE_S = 5
MINUTE_S = 60.0
HOUR_MIN = 60


@dataclass(frozen=True, slots=True)
class RunDuration:
    """How long a run took that has ended."""

    whole_s: float
    """From the start of its server to its verdict."""
    load_s: float
    """Of that, its phases."""
    requests: int
    """Sent in these phases."""


def left_s(ended: Sequence[RunDuration], requests: Iterable[int]) -> float | None:
    """Seconds for runs with so many requests each; None while no run has ended.

    A run takes a fixed time (its server starts, is drained and judged) and a time for each request.
    """
    if not ended:
        return None
    waiting = list(requests)
    fixed_s = sum(duration.whole_s - duration.load_s for duration in ended) / len(ended)
    sent = sum(duration.requests for duration in ended)
    each_s = sum(duration.load_s for duration in ended) / sent if sent else 0.0
    return fixed_s * len(waiting) + each_s * sum(waiting)


def about(seconds: float) -> str:
    """A duration in rough units: 45 s, 14 min, 2 h 5 min."""
    coarse = max(COARSE_S, COARSE_S * ceil(seconds / COARSE_S))
    if coarse < 2 * MINUTE_S:
        return f"{coarse} s"
    minutes = round(seconds / MINUTE_S)
    if minutes < HOUR_MIN:
        return f"{minutes} min"
    hours, rest = divmod(minutes, HOUR_MIN)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def clock(seconds: float) -> str:
    """A duration as a clock shows it: 0:42, 12:05, 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(count: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
