"""The pairs of one measurement of a night: the screen, and at once the confirmation where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kvchaos.bench.bench_runner import BenchRunner, BenchTarget
from kvchaos.bench.procedures import measure_pair
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.nightly.decision import needs_confirmation
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.night_series import SeriesPairs, failed_sides, series_of

MAX_FAILED_RUNS = 2
"""Runs of a side that are not as expected; after them the rest of a measurement would only repeat them."""

NeedsConfirmation = Callable[[SeriesPairs], bool]
"""Whether the screen of a watched series saw a step."""


@dataclass(frozen=True, slots=True)
class StageSeeds:
    """Seeds of the pairs of both stages."""

    screen: range
    confirm: range

    @classmethod
    def of(cls, first: int, plan: Procedure) -> StageSeeds:
        """Consecutive seeds, so that no pair of the confirmation repeats one of the screen."""
        middle = first + plan.screen_pairs
        return cls(range(first, middle), range(middle, middle + plan.confirm_pairs))


def measure_stages(
    runner: BenchRunner,
    targets: tuple[BenchTarget, BenchTarget],
    seeds: StageSeeds,
    phases: int,
    confirm: NeedsConfirmation,
    budget: RunBudget,
) -> bool:
    """Measure the screen, then the confirmation if a series needs one; each pair is a run of the budget.

    Returns whether all pairs were measured. Raises UsageError, MeasurementInterrupted.
    """
    if not _measure_pairs(runner, targets, seeds.screen, phases, budget):
        return False
    if not any(map(confirm, series_of(runner.bench, seeds.screen))):
        return True
    return _measure_pairs(runner, targets, seeds.confirm, phases, budget)


def _measure_pairs(
    runner: BenchRunner,
    targets: tuple[BenchTarget, BenchTarget],
    seeds: Sequence[int],
    phases: int,
    budget: RunBudget,
) -> bool:
    for number, seed in enumerate(seeds):
        if not budget.fits() or failed_sides(runner.bench, MAX_FAILED_RUNS):
            return False
        budget.timed(partial(measure_pair, runner, targets, seed, number, phases))
    return True


def screen_test(
    watch: dict[str, float], plan: Procedure, accepted: Callable[[SeriesPairs], float]
) -> NeedsConfirmation:
    """The test of the watched figures: `watch` gives the least step of each, a logarithm."""

    def test(series: SeriesPairs) -> bool:
        least = watch.get(series.figure.key)
        return least is not None and needs_confirmation(series.slowdowns, least, accepted(series), plan)

    return test
