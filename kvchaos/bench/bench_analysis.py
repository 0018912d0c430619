"""What a measurement shows: medians and their intervals, knees, ratios, the highest rate for an SLO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from kvchaos.bench.bench_file import FIGURES, Bench, BenchRun, Figure, PhaseFigures

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_REPEATS = 6
"""With fewer values the bounds are about the range, and cover the true median less often than CONFIDENCE."""


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The median of some values and its bounds by bootstrap."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Raises ValueError without values."""
        if not values:
            raise ValueError("nothing was measured")
        array = np.array(values, np.float64)
        draws = np.random.RandomState(0).randint(0, len(array), (RESAMPLES, len(array)))
        medians = np.median(array[draws], axis=1)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(medians, (tail, 1 - tail))
        return cls(float(np.median(array)), float(low), float(high), len(array))

    @property
    def is_reliable(self) -> bool:
        """Whether there are enough values for the bounds to be what they are called."""
        return self.count >= MIN_REPEATS


MIN_THROUGHPUT_FRACTION = 0.9
"""Throughput for each arrival, of that at the lowest rate, down to which a server still keeps up."""
THROUGHPUT = "throughput"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One phase of one side, over all runs that count."""

    side: str
    phase: str
    rate: float | None
    measured: Sequence[PhaseFigures]

    def interval(self, figure: Figure) -> Interval | None:
        """None where the figure was not measured in every run."""
        values = [figure.of(one) for one in self.measured]
        known = [value for value in values if value is not None]
        return Interval.of(known) if known and len(known) == len(values) else None


def points(bench: Bench) -> list[CurvePoint]:
    """Points of the measurement by side, then in the order of the phases."""
    found: dict[tuple[str, str, float | None], list[PhaseFigures]] = {}
    for run in sorted(bench.counted, key=lambda run: bench.sides.index(run.side)):
        for phase in run.phases:
            found.setdefault((run.side, phase.phase, phase.rate), []).append(phase.figures)
    return [CurvePoint(side, phase, rate, measured) for (side, phase, rate), measured in found.items()]


def figure_named(name: str) -> Figure:
    """Raises StopIteration for a name that no figure has."""
    return next(figure for figure in FIGURES if figure.name == name)


def knee(curve: Sequence[CurvePoint]) -> float | None:
    """The highest rate up to which throughput grows with the rate; None when it does to the end.

    Throughput counts to the end of the last answer. A server that does not keep up is at work long after the
    last arrival; how long an answer takes at all shows at the lowest rate already.
    """
    reached: float | None = None
    first: float | None = None
    for point in sorted((point for point in curve if point.rate), key=lambda point: point.rate or 0.0):
        throughput = point.interval(figure_named(THROUGHPUT))
        if throughput is None or point.rate is None:
            continue
        each = throughput.median / point.rate
        first = each if first is None else first
        if each < MIN_THROUGHPUT_FRACTION * first:
            return reached
        reached = point.rate
    return None


Significance = Literal["better", "worse", "undecided", "too few"]
FigurePair = tuple[PhaseFigures, PhaseFigures]
"""Of the first side and of the second."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of the second side over that of the first."""

    phase: str
    figure: Figure
    first: Interval
    second: Interval
    ratio: Interval

    @property
    def significance(self) -> Significance:
        """What the interval shows of the second side."""
        if not self.ratio.is_reliable:
            return "too few"
        if self.ratio.low <= 1.0 <= self.ratio.high:
            return "undecided"
        return "better" if (self.ratio.low > 1.0) == self.figure.more_is_better else "worse"


def pairs(bench: Bench) -> dict[str, list[FigurePair]]:
    """Pairs by rate or phase, for each seed for which both sides count, in the order of the runs."""
    first, second = bench.sides
    found: dict[str, list[FigurePair]] = {}
    of_side = {
        side: {
            run.seed: {one.name: one.figures for one in run.phases}
            for run in bench.counted
            if run.side == side
        }
        for side in bench.sides
    }
    for seed, phases in of_side[first].items():
        for phase, figures in phases.items():
            if phase in of_side[second].get(seed, {}):
                found.setdefault(phase, []).append((figures, of_side[second][seed][phase]))
    return found


def ratios(phase: str, measured: Sequence[FigurePair]) -> list[Ratio]:
    """One for each figure that every pair has, above zero on both sides."""
    found = (_ratio(phase, figure, measured) for figure in FIGURES)
    return [one for one in found if one is not None]


def _ratio(phase: str, figure: Figure, measured: Sequence[FigurePair]) -> Ratio | None:
    first: list[float] = []
    second: list[float] = []
    for one, other in measured:
        before, after = figure.of(one), figure.of(other)
        if not before or not after:
            return None
        first.append(before)
        second.append(after)
    quotients = [after / before for before, after in zip(first, second, strict=True)]
    return Ratio(phase, figure, Interval.of(first), Interval.of(second), Interval.of(quotients))


MAX_PROBES = 12
MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Bracket:
    """What one search has found: rates, arrivals/s."""

    seed: int
    holds: float | None
    """The highest rate that met the SLO; None when none did."""
    fails: float | None
    """The lowest rate that did not; None when all did."""


def bisect(holds: Callable[[float], bool], low: float, high: float, precision: float) -> None:
    """Try rates until the highest that holds is known to this share of itself.

    `low` is taken to hold and not tried. `high` is tried first, and doubled while it holds; where it never
    fails the search is over.
    """
    for _ in range(MAX_DOUBLINGS):
        if not holds(high):
            break
        low, high = high, 2 * high
    else:
        return
    for _ in range(MAX_PROBES):
        if high - low <= precision * high:
            return
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle


def slo_met(bench: Bench, run: BenchRun) -> bool | None:
    """Whether a probe met the SLO; None when it does not count."""
    if bench.slo is None or run.why_not is not None:
        return None
    shares = [phase.figures.good_share for phase in run.phases]
    return all(share is not None and share >= bench.slo.share for share in shares)


def brackets(bench: Bench) -> list[Bracket]:
    """One for each search that came to its end, every rate that it tried measured."""
    return [_bracket(seed, bench) for seed in bench.searched if _is_complete(seed, bench)]


def _is_complete(seed: int, bench: Bench) -> bool:
    """The last run of each rate counts."""
    last = {tuple(run.requested_rates): run.why_not for run in bench.runs if run.seed == seed}
    return all(why_not is None for why_not in last.values())


def _bracket(seed: int, bench: Bench) -> Bracket:
    tried: dict[bool, list[float]] = {True: [], False: []}
    for run in bench.runs:
        met = slo_met(bench, run)
        if run.seed == seed and met is not None:
            tried[met].extend(run.requested_rates)
    return Bracket(seed, max(tried[True], default=None), min(tried[False], default=None))
