"""The cost of one server over another, from blocks of load measured in turn on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from kvchaos.bench.bench_analysis import Interval


@dataclass(frozen=True, slots=True)
class Block:
    """One block of load on one server."""

    tokens_per_s: float
    """Generated, over the block."""
    first_token_ms: float
    """Median over the block's requests."""
    between_tokens_ms: float
    """Mean over all tokens but the first of each request."""
    step_ms: float
    """Time of the block by the server's own count of engine steps."""
    cpu_us_per_token: float
    """Processor time of all of the server's processes."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two blocks of the same prompts, one right after the other."""

    plain: Block
    chaos: Block


@dataclass(frozen=True, slots=True)
class IdleCost:
    """What a figure shows, as a share: 0.01 is one percent worse with the chaos module."""

    figure: str
    unit: str
    plain: float
    """Median over the blocks."""
    chaos: float
    median: float
    """Of the paired ratios, less one."""
    low: float
    high: float
    """Bounds of the median by bootstrap over the pairs."""


FIGURES: tuple[tuple[str, str, Callable[[Block], float]], ...] = (
    ("throughput", "tokens/s", lambda block: block.tokens_per_s),
    ("time to the first token", "ms", lambda block: block.first_token_ms),
    ("time between tokens", "ms", lambda block: block.between_tokens_ms),
    ("time of an engine step", "ms", lambda block: block.step_ms),
    ("processor time of a token", "µs", lambda block: block.cpu_us_per_token),
)
MORE_IS_BETTER = "throughput"


def costs(pairs: Sequence[Pair]) -> list[IdleCost]:
    """The cost by each figure. Raises ValueError without pairs."""
    if not pairs:
        raise ValueError("no pairs were measured")
    return [_cost(figure, unit, value, pairs) for figure, unit, value in FIGURES]


def _cost(figure: str, unit: str, value: Callable[[Block], float], pairs: Sequence[Pair]) -> IdleCost:
    plain = [value(pair.plain) for pair in pairs]
    chaos = [value(pair.chaos) for pair in pairs]
    worse, better = (plain, chaos) if figure == MORE_IS_BETTER else (chaos, plain)
    ratio = Interval.of([one / other for one, other in zip(worse, better, strict=True)])
    bounds = (ratio.median - 1, ratio.low - 1, ratio.high - 1)
    return IdleCost(figure, unit, median(plain), median(chaos), *bounds)


TargetResult = Literal["within", "above", "undecided"]


def target_result(cost: IdleCost, target: float) -> TargetResult:
    """Whether a cost is shown to lie within a target, shown to lie above it, or neither."""
    if cost.high <= target:
        return "within"
    return "above" if cost.low > target else "undecided"
