"""The cost of the chaos module from pairs of blocks, with an interval over lives. Pure.

A pair has the same prompts on a plain server and on another one: with the module for the cost, plain as well
for the control. The servers of a life differ by chance, so the interval comes from the spread between lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import fmean, median, stdev
from typing import Literal

from scipy.stats import t as student

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.measured_life import Life, Pair
from kvchaos.bench.bench_analysis import CONFIDENCE


@dataclass(frozen=True, slots=True)
class CostFigure:
    """A figure of a block; `value` grows with the cost."""

    name: str
    unit: str
    shown: Callable[[Block], float]
    value: Callable[[Block], float]


FIGURES = (
    CostFigure(
        "throughput", "tokens/s", lambda block: block.tokens_per_s, lambda block: 1 / block.tokens_per_s
    ),
    *(
        CostFigure(name, unit, value, value)
        for name, unit, value in (
            ("TTFT", "ms", lambda block: block.first_token_ms),
            ("time between tokens", "ms", lambda block: block.between_tokens_ms),
            ("time of an engine step", "ms", lambda block: block.step_ms),
            ("processor time of a token", "µs", lambda block: block.cpu_us_per_token),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share: 0.01 is one percent worse. The interval holds the mean over all possible lives."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class FigureCost:
    """What a figure shows."""

    figure: CostFigure
    plain: float
    """Median over the pairs of the cost."""
    module: float
    cost: Estimate
    control: Estimate
    """The cost of a plain server against the other: the error of the measurement."""


def figure_costs(lives: Sequence[Life]) -> list[FigureCost]:
    """The cost by each figure. Raises StatisticsError without a life."""
    return [_figure_cost(figure, lives) for figure in FIGURES]


def _figure_cost(figure: CostFigure, lives: Sequence[Life]) -> FigureCost:
    pairs = [pair for life in lives for pair in life.costs]
    return FigureCost(
        figure,
        plain=median(figure.shown(pair.plain) for pair in pairs),
        module=median(figure.shown(pair.other) for pair in pairs),
        cost=_estimate([_difference(figure, life.costs) for life in lives]),
        control=_estimate([_difference(figure, life.controls) for life in lives]),
    )


def _difference(figure: CostFigure, pairs: Sequence[Pair]) -> float:
    """Typical over the pairs of a life: the median, which of two pairs is their mean."""
    return median(log(figure.value(pair.other)) - log(figure.value(pair.plain)) for pair in pairs)


def _estimate(logarithms: Sequence[float]) -> Estimate:
    """Mean with the interval of Student's t; one value has no interval."""
    mean, count = fmean(logarithms), len(logarithms)
    error = inf
    if count > 1:
        error = student.ppf((1 + CONFIDENCE) / 2, count - 1) * stdev(logarithms) / sqrt(count)
    return Estimate(exp(mean) - 1, exp(mean - error) - 1, exp(mean + error) - 1 if error < inf else inf)


Answer = Literal["within", "above", "undecided"]


@dataclass(frozen=True, slots=True)
class Targets:
    """Shares."""

    cost: float
    """The most that the module may cost."""
    control: float
    """How far the control may be from nothing."""


def answer(found: FigureCost, targets: Targets) -> tuple[Answer, str]:
    """Whether a cost is shown to be within the target or above it; where neither is shown, why not."""
    control = max(abs(found.control.low), abs(found.control.high))
    if found.cost.low > targets.cost and found.cost.low > control:
        return "above", ""
    if control > targets.control:
        return "undecided", f"plain against plain differs by up to {control:.2%}"
    if found.cost.high <= targets.cost:
        return "within", ""
    return "undecided", f"the interval is {2 * found.cost.half_width:.2%} wide"


def decided(found: Sequence[FigureCost], targets: Targets) -> bool:
    """Whether no further life is needed."""
    return all(answer(each, targets)[0] != "undecided" for each in found)
