"""The pairs of one measurement of a night: the screen, and at once the confirmation where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from kvchaos.bench.bench_runner import BenchRunner, BenchTarget
from kvchaos.bench.procedures import measure_pair
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.nightly.decision import is_confirmed_early, needs_confirmation
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.night_series import SeriesPairs, failed_sides, series_of

MAX_FAILED_RUNS = 2
"""Runs of a side that are not as expected; after them the rest of a measurement would only repeat them."""


@dataclass(frozen=True, slots=True)
class StageTests:
    """What decides whether a night goes on, for the series that are watched."""

    watch: Mapping[str, float]
    """The least step of each figure, a logarithm."""
    plan: Procedure
    accepted: Callable[[SeriesPairs], float]

    def needs_confirmation(self, screen: SeriesPairs) -> bool:
        """Whether the screen of a series saw a step."""
        least = self.watch.get(screen.figure.key)
        return least is not None and needs_confirmation(
            screen.slowdowns, least, self.accepted(screen), self.plan
        )

    def is_confirmed_early(self, screen: SeriesPairs, confirm: SeriesPairs) -> bool:
        """Whether a series whose screen saw a step needs no more pairs."""
        return is_confirmed_early(
            screen.slowdowns,
            confirm.slowdowns,
            self.watch[screen.figure.key],
            self.accepted(screen),
            self.plan,
        )


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
    tests: StageTests,
    budget: RunBudget,
) -> bool:
    """Measure the screen, then the confirmation if a series needs one; each pair is a run of the budget.

    Returns whether all pairs were measured that a decision needs. Raises UsageError, MeasurementInterrupted.
    """
    if not _measure_pairs(runner, targets, seeds.screen, phases, budget):
        return False
    suspects = [each for each in series_of(runner.bench, seeds.screen) if tests.needs_confirmation(each)]
    if not suspects:
        return True
    early = seeds.confirm[: tests.plan.early_pairs]
    if not _measure_pairs(runner, targets, early, phases, budget):
        return False
    fresh = {(each.load, each.figure.key): each for each in series_of(runner.bench, early)}
    keys = [(each.load, each.figure.key) for each in suspects]
    if all(
        key in fresh and tests.is_confirmed_early(each, fresh[key])
        for each, key in zip(suspects, keys, strict=True)
    ):
        return True
    return _measure_pairs(runner, targets, seeds.confirm[len(early) :], phases, budget)


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
