"""Compare two sides: the ratio of each figure, from pairs of runs with the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kvchaos.bench.bench_file import Bench
from kvchaos.bench.interval import Interval
from kvchaos.bench.phase_figures import FIGURES, Figure, PhaseFigures

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
    """By rate or phase, of each seed for which both sides count, in the order of the runs."""
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
