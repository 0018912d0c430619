"""Aggregate the repeats of a phase, and find the knee of a curve over rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvchaos.bench.bench_file import Bench
from kvchaos.bench.interval import Interval
from kvchaos.bench.phase_figures import FIGURES, Figure, PhaseFigures

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
    """By side, then in the order of the phases. Runs of other rates have phases of the same names."""
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
