"""What is measured in which order: a sweep over rates, a search for the highest, two sides in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kvchaos.bench.measuring import Bencher, Target
from kvchaos.bench.plans import at_rates, closed
from kvchaos.bench.points import knee, points
from kvchaos.bench.search import bisect, held
from kvchaos.bench.store import BenchRun
from kvchaos.errors import UsageError

SHARES = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2)
"""Of what a closed loop reaches: the rates of a sweep that was not told any."""
BEYOND = (1.5, 2.0, 3.0)
"""Of the highest rate so far: those of one run more, where throughput still grows there."""
MOST_BEYOND = 3
"""Such runs."""
HIGHEST = 1.2
"""Of the same: where a search begins that was not told."""


class NotMeasured(UsageError):
    """What the rest is to be made of could not be measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """How long and how much at once, at each rate."""

    seconds: float
    in_flight: int

    def at(self, target: Target, rates: Sequence[float]) -> Target:
        """Raises UsageError."""
        base = at_rates(target.base, rates, self.seconds, self.in_flight)
        return replace(target, base=base)


def sweep(bencher: Bencher, target: Target, seeds: Sequence[int], rates: Sequence[float], load: Load) -> None:
    """All rates in each run. Without any, those around what a closed loop reaches, and in further runs higher
    ones until throughput grows no more. Raises UsageError.
    """
    if rates:
        steps, rest = [rates], seeds
    else:
        first, *rest = seeds
        steps = _up_to_the_knee(bencher, target, first, _closed_loop(bencher, target, seeds), load)
    for seed in rest:
        for step in steps:
            _measure(bencher, load.at(target, step), seed, len(step))


def search(
    bencher: Bencher,
    target: Target,
    seeds: Sequence[int],
    bounds: tuple[float, float | None],
    precision: float,
    load: Load,
) -> None:
    """One bisection a seed, a run for each rate that is tried. Raises UsageError."""
    low, high = bounds
    if high is None:
        high = _rounded(HIGHEST * _closed_loop(bencher, target, seeds))
    if low >= high:
        raise UsageError(f"the lowest rate, {low:g}, is not below the highest, {high:g}")
    for seed in seeds:
        if _search_once(bencher, target, seed, (low, high), precision, load):
            bencher.searched(seed)


def compare(bencher: Bencher, targets: tuple[Target, Target], seeds: Sequence[int], phases: int = 1) -> None:
    """Pairs with the same seed; which side goes first changes from pair to pair, and that again."""
    for number, seed in enumerate(seeds):
        for target in targets if number % 4 in (0, 3) else reversed(targets):
            _measure(bencher, target, seed, phases)


def _up_to_the_knee(
    bencher: Bencher, target: Target, seed: int, reached: float, load: Load
) -> list[Sequence[float]]:
    """The rates of each run that it took to find the knee, or to see that there is none so far."""
    steps: list[Sequence[float]] = [[_rounded(share * reached) for share in SHARES]]
    while True:
        run = _measure(bencher, load.at(target, steps[-1]), seed, len(steps[-1]))
        if run.why_not is not None or len(steps) > MOST_BEYOND or knee(points(bencher.bench)) is not None:
            return steps
        steps.append([_rounded(times * steps[-1][-1]) for times in BEYOND])


class _Unknown(Exception):
    """A rate of a search could not be measured."""


def _search_once(
    bencher: Bencher, target: Target, seed: int, bounds: tuple[float, float], precision: float, load: Load
) -> bool:
    """Whether the search came to its end."""
    try:
        bisect(lambda rate: _holds(bencher, load.at(target, [rate]), seed), *bounds, precision)
    except _Unknown:
        return False
    return True


def _holds(bencher: Bencher, target: Target, seed: int) -> bool:
    _measure(bencher, target, seed, 1)
    word = held(bencher.bench, bencher.bench.runs[-1])
    if word is None:
        raise _Unknown
    return word


def _measure(bencher: Bencher, target: Target, seed: int, phases: int) -> BenchRun:
    """Of its last phases."""
    asked = [phase.name for phase in target.base.scenario.phases[-phases:]]
    return bencher.measure(target, asked, seed)


def _closed_loop(bencher: Bencher, target: Target, seeds: Sequence[int]) -> float:
    """Arrivals/s that a closed loop of the scenario's own concurrency reaches."""
    run = _measure(bencher, replace(target, base=closed(target.base)), max(seeds) + 1, 1)
    if run.why_not is not None:
        raise NotMeasured(f"the closed loop that tells which rates to try does not count: {run.why_not}")
    rate = run.phases[0].figures.requests_per_s
    if rate is None:
        raise NotMeasured("the closed loop that tells which rates to try has no rate; give rates")
    return rate / target.base.chain


def _rounded(rate: float) -> float:
    """Three figures are plenty."""
    return float(f"{rate:.3g}")
