"""TTFT and ITL of good answers, counted in buckets while they come in, for whoever watches a run.

The records have every single time; judging and reports go by those.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from history.latency import itl_us, ttft_ms
from history.records import RequestRecord
from loadtests.messages import Counted, LatencyReport

US_PER_MS = 1e3
US_PER_S = 1e6
TTFT_BOUNDS_S = (
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
ITL_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets; one more holds what is above."""


class LatencyHistograms:
    """Takes the requests of one phase as they end."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._ttft = _Buckets(TTFT_BOUNDS_S)
        self._itl = _Buckets(ITL_BOUNDS_S)

    def ended(self, record: RequestRecord) -> None:
        if record.outcome != "ok":
            return
        ttft = ttft_ms(record)
        if ttft is not None:
            self._ttft.add([ttft * US_PER_MS])
        self._itl.add(itl_us(record))

    def reading(self) -> LatencyReport:
        """All so far."""
        return LatencyReport(phase=self._phase, ttft=self._ttft.counted(), itl=self._itl.counted())


class _Buckets:
    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_us = [round(bound * US_PER_S) for bound in bounds_s]
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_us = 0.0

    def add(self, microseconds: Iterable[float]) -> None:
        values = sorted(microseconds)
        self._sum_us += sum(values)
        # Once for each bound takes less than once for each value.
        below = [bisect_right(values, bound_us) for bound_us in self._bounds_us]
        for bucket, (start, end) in enumerate(pairwise([0, *below, len(values)])):
            self._counts[bucket] += end - start

    def counted(self) -> Counted:
        return Counted(counts=list(self._counts), sum_s=self._sum_us / US_PER_S)
