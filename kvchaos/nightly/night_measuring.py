"""The pairs of one measurement of a night: the screen, and at once the confirmation where it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kvchaos.bench.bench_runner import BenchRunner, BenchTarget
from kvchaos.bench.procedures import measure_pair
from kvchaos.nightly.decision import needs_confirmation
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.night_series import SeriesPairs, failed_sides, series_of

MAX_FAILED_RUNS = 2
"""Runs of a side that are not as expected; after them the rest of a measurement would only repeat them."""

NeedsConfirmation = Callable[[SeriesPairs], bool]
"""Whether the screen of a watched series saw a step."""


class Deadline:
    """The end of the night's budget; a pair starts only if one as long as the longest so far still fits."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.longest_s = 0.0

    def allows_pair(self) -> bool:
        """Whether one more pair fits."""
        return self._clock() + self.longest_s < self._end

    def timed(self, measure: Callable[[], object]) -> None:
        """Measure a pair and remember its duration."""
        began = self._clock()
        measure()
        self.longest_s = max(self.longest_s, self._clock() - began)


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
    deadline: Deadline,
) -> bool:
    """Measure the screen, then the confirmation if a series needs one.

    Returns whether all pairs were measured. Raises UsageError, MeasurementInterrupted.
    """
    if not _measure_pairs(runner, targets, seeds.screen, phases, deadline):
        return False
    if not any(map(confirm, series_of(runner.bench, seeds.screen))):
        return True
    return _measure_pairs(runner, targets, seeds.confirm, phases, deadline)


def _measure_pairs(
    runner: BenchRunner,
    targets: tuple[BenchTarget, BenchTarget],
    seeds: Sequence[int],
    phases: int,
    deadline: Deadline,
) -> bool:
    for number, seed in enumerate(seeds):
        if not deadline.allows_pair() or failed_sides(runner.bench, MAX_FAILED_RUNS):
            return False
        deadline.timed(partial(measure_pair, runner, targets, seed, number, phases))
    return True


def screen_test(
    watch: dict[str, float], plan: Procedure, accepted: Callable[[SeriesPairs], float]
) -> NeedsConfirmation:
    """The test of the watched figures: `watch` gives the least step of each, a logarithm."""

    def test(series: SeriesPairs) -> bool:
        least = watch.get(series.figure.key)
        return least is not None and needs_confirmation(series.slowdowns, least, accepted(series), plan)

    return test
