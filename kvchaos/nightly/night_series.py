"""From the runs of a measurement to its series: slowdowns of pairs, by load and figure. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from kvchaos.bench.bench_analysis import FigurePair, pairs
from kvchaos.bench.bench_file import FIGURES, Bench, BenchRun, Figure, MeasuredPhase

CONTROL, CANDIDATE = "control", "candidate"
SIDES = (CONTROL, CANDIDATE)
"""In the order of a measurement's sides: the control first."""
SLOWDOWN_DIGITS = 6
"""Decimals that the history keeps."""


@dataclass(frozen=True, slots=True)
class SeriesPairs:
    """One figure at one load: a slowdown for each pair, and the median figure of each side."""

    load: str
    figure: Figure
    slowdowns: list[float]
    control: float
    candidate: float


def series_name(scenario: str, load: str, figure: Figure) -> str:
    """Name of a series in the history."""
    return f"{scenario}/{load}/{figure.key}"


def load_name(phase: MeasuredPhase) -> str:
    """The phase, or rate-N for N arrivals a second."""
    return phase.phase if phase.rate is None else f"rate-{phase.rate:g}"


def series_of(bench: Bench, seeds: Collection[int]) -> list[SeriesPairs]:
    """The series of the pairs with these seeds, in the order of loads and figures."""
    chosen = [run for run in bench.runs if run.seed in seeds]
    loads = {phase.name: load_name(phase) for run in chosen for phase in run.phases}
    found = pairs(msgspec.structs.replace(bench, runs=chosen))
    return [
        series
        for phase, measured in found.items()
        for figure in FIGURES
        if (series := _series(loads[phase], figure, measured)) is not None
    ]


def _series(load: str, figure: Figure, measured: Sequence[FigurePair]) -> SeriesPairs | None:
    """None where no pair has the figure above zero on both sides."""
    values = [
        (before, after)
        for one, other in measured
        if (before := figure.of(one)) and (after := figure.of(other))
    ]
    if not values:
        return None
    sign = -1 if figure.more_is_better else 1
    return SeriesPairs(
        load=load,
        figure=figure,
        slowdowns=[round(sign * math.log(after / before), SLOWDOWN_DIGITS) for before, after in values],
        control=median(before for before, _ in values),
        candidate=median(after for _, after in values),
    )


def paired_runs(bench: Bench, seeds: Collection[int]) -> Iterator[tuple[BenchRun, BenchRun]]:
    """The control's and the candidate's run of each pair that counts, in the order of the seeds."""
    for seed in seeds:
        counted = {run.side: run for run in bench.counted if run.seed == seed}
        if len(counted) == len(SIDES):
            yield counted[CONTROL], counted[CANDIDATE]


def failed_sides(bench: Bench, limit: int) -> list[str]:
    """Sides of which so many runs were not as expected."""
    return [
        side
        for side in bench.sides
        if sum(run.side == side and run.outcome == "not as expected" for run in bench.runs) >= limit
    ]
