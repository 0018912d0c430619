"""Procedures of a measurement: sweep over rates, highest rate, comparison of two sides, prompt sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from kvchaos.bench.bench_analysis import bisect, knee, points, slo_met
from kvchaos.bench.bench_file import BenchRun
from kvchaos.bench.bench_runner import BenchRunner, BenchTarget
from kvchaos.bench.bench_scenarios import at_rates, closed_loop
from kvchaos.bench.prompt_sources import measured_phases
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.errors import UsageError

SWEEP_FRACTIONS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2)
"""The rates of a sweep without given rates, as fractions of the throughput of a closed loop."""
HIGHER_RATE_FACTORS = (1.5, 2.0, 3.0)
"""The rates of one more run where throughput still grows, as factors of the highest rate so far."""
MAX_HIGHER_RUNS = 3
"""The most such runs."""
SEARCH_START_FACTOR = 1.2
"""Where a search without a given upper rate starts, as a factor of the throughput of a closed loop."""


class NotMeasured(UsageError):
    """A run that the rest of the measurement depends on does not count."""


@dataclass(frozen=True, slots=True)
class RateProfile:
    """The duration of each rate, and the most requests in flight."""

    seconds: float
    in_flight: int

    def at(self, target: BenchTarget, rates: Sequence[float]) -> BenchTarget:
        """Raises UsageError."""
        base = at_rates(target.base, rates, self.seconds, self.in_flight)
        return replace(target, base=base)


def sweep(
    runner: BenchRunner,
    target: BenchTarget,
    seeds: Sequence[int],
    rates: Sequence[float],
    profile: RateProfile,
) -> None:
    """Measure all rates in each run. Raises UsageError.

    Without rates, those around what a closed loop reaches. Further runs add higher rates until throughput
    stops growing.
    """
    if rates:
        steps, rest = [rates], seeds
    else:
        first, *rest = seeds
        steps = _up_to_the_knee(runner, target, first, _closed_loop(runner, target, seeds), profile)
    for seed in rest:
        for step in steps:
            _measure(runner, profile.at(target, step), seed, len(step))


def search(
    runner: BenchRunner,
    target: BenchTarget,
    seeds: Sequence[int],
    bounds: tuple[float, float | None],
    precision: float,
    profile: RateProfile,
) -> None:
    """One bisection a seed, a run for each rate that is tried. Raises UsageError."""
    low, high = bounds
    if high is None:
        high = _rounded(SEARCH_START_FACTOR * _closed_loop(runner, target, seeds))
    if low >= high:
        raise UsageError(
            f"the lowest rate, {low:g}, is not below the highest, {high:g}; give --low and --high"
        )
    for seed in seeds:
        if _search_once(runner, target, seed, (low, high), precision, profile):
            runner.complete_search(seed)


def compare(
    runner: BenchRunner, targets: tuple[BenchTarget, BenchTarget], seeds: Sequence[int], phases: int = 1
) -> None:
    """Measure pairs with the same seed, in the order A B, B A, B A, A B. Raises UsageError."""
    for number, seed in enumerate(seeds):
        measure_pair(runner, targets, seed, number, phases)


def sources(runner: BenchRunner, target: BenchTarget, seeds: Sequence[int], budget: RunBudget) -> None:
    """Measure each phase that has a source, in each run that the budget allows. Raises UsageError."""
    phases = measured_phases([phase.name for phase in target.base.scenario.phases])
    for seed in seeds:
        if not budget.fits():
            return
        budget.timed(partial(runner.measure, target, phases, seed))


def measure_pair(
    runner: BenchRunner, targets: tuple[BenchTarget, BenchTarget], seed: int, number: int, phases: int = 1
) -> list[BenchRun]:
    """Measure both sides with one seed; the number of the pair decides which goes first."""
    order = targets if number % 4 in (0, 3) else targets[::-1]
    return [_measure(runner, target, seed, phases) for target in order]


def _up_to_the_knee(
    runner: BenchRunner, target: BenchTarget, seed: int, reached: float, profile: RateProfile
) -> list[Sequence[float]]:
    """The rates of each run that it took to find the knee, or to see that there is none so far."""
    steps: list[Sequence[float]] = [[_rounded(share * reached) for share in SWEEP_FRACTIONS]]
    while True:
        run = _measure(runner, profile.at(target, steps[-1]), seed, len(steps[-1]))
        if run.why_not is not None or len(steps) > MAX_HIGHER_RUNS or knee(points(runner.bench)) is not None:
            return steps
        steps.append([_rounded(times * steps[-1][-1]) for times in HIGHER_RATE_FACTORS])


class _ProbeInconclusive(Exception):
    """A rate of a search could not be measured."""


def _search_once(
    runner: BenchRunner,
    target: BenchTarget,
    seed: int,
    bounds: tuple[float, float],
    precision: float,
    profile: RateProfile,
) -> bool:
    """Whether the search came to its end."""
    try:
        bisect(lambda rate: _meets_slo(runner, profile.at(target, [rate]), seed), *bounds, precision)
    except _ProbeInconclusive:
        return False
    return True


def _meets_slo(runner: BenchRunner, target: BenchTarget, seed: int) -> bool:
    _measure(runner, target, seed, 1)
    met = slo_met(runner.bench, runner.bench.runs[-1])
    if met is None:
        raise _ProbeInconclusive
    return met


def _measure(runner: BenchRunner, target: BenchTarget, seed: int, phases: int) -> BenchRun:
    """Measure the last phases of the target's scenario."""
    measured = [phase.name for phase in target.base.scenario.phases[-phases:]]
    return runner.measure(target, measured, seed)


def _closed_loop(runner: BenchRunner, target: BenchTarget, seeds: Sequence[int]) -> float:
    """Arrivals/s that a closed loop of the scenario's own concurrency reaches."""
    run = _measure(runner, replace(target, base=closed_loop(target.base)), max(seeds) + 1, 1)
    if run.why_not is not None:
        raise NotMeasured(f"the closed loop that tells which rates to try does not count: {run.why_not}")
    rate = run.phases[0].figures.requests_per_s
    if rate is None:
        raise NotMeasured("the closed loop that tells which rates to try has no rate; give rates")
    return rate / target.base.chain


def _rounded(rate: float) -> float:
    """Three figures are plenty."""
    return float(f"{rate:.3g}")
