"""Repeats of a failing run: same seed, other seeds, without its faults; and what they prove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from history.scenario import Scenario
from kvchaos.triage.failure_signature import Observation
from kvchaos.triage.occurrence_rate import MISS, OccurrenceRate

Variant = Literal["same seed", "other seed", "without faults"]
Occurrence = Literal["always", "flaky", "not again", "unknown"]
"""unknown: no run could say."""
SAME_SEED_RUNS = 3
OTHER_SEEDS = 3
FAULTLESS_RUNS = 1


@dataclass(frozen=True, slots=True)
class PlannedRepeat:
    """One run to make."""

    variant: Variant
    scenario: Scenario
    seed: int


@dataclass(frozen=True, slots=True)
class RepeatOutcome:
    """A repeat that was made."""

    variant: Variant
    seed: int
    observation: Observation
    run: str | None
    """Name of its run directory; None: the run did not begin."""


class RateOfRuns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Runs that show the failure, with Wilson's 95 % interval of the rate."""

    shown: int
    runs: int
    low: float
    high: float

    @classmethod
    def of(cls, rate: OccurrenceRate) -> RateOfRuns:
        """The rate as data."""
        low, high = rate.interval()
        return cls(shown=rate.shown, runs=rate.runs, low=round(low, 4), high=round(high, 4))


class RepeatResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the repeats say."""

    occurrence: Occurrence
    """With the faults, over all seeds."""
    same_seed: RateOfRuns
    other_seeds: RateOfRuns
    with_faults: RateOfRuns
    """Of both."""
    only_with_faults: bool | None
    """None: the run had no faults, or the runs without them are too few for the rate."""
    infrastructure: dict[str, int] = {}
    """Repeats that said nothing about the server, by category."""


def repeat_plan(
    scenario: Scenario,
    seed: int,
    same_seed: int = SAME_SEED_RUNS,
    other_seeds: int = OTHER_SEEDS,
    faultless: int = FAULTLESS_RUNS,
) -> Iterator[PlannedRepeat]:
    """The runs in order. The original run chose itself by failing, so it is not counted."""
    for _ in range(same_seed):
        yield PlannedRepeat("same seed", scenario, seed)
    for number in range(1, other_seeds + 1):
        yield PlannedRepeat("other seed", scenario, seed + number)
    if scenario.faults:
        bare = scenario.model_copy(update={"faults": (), "swarm": False})
        for _ in range(faultless):
            yield PlannedRepeat("without faults", bare, seed)


def classify(outcomes: Sequence[RepeatOutcome]) -> RepeatResult:
    """Always, flaky or not again; and whether the faults are needed."""
    same, other = _rate(outcomes, "same seed"), _rate(outcomes, "other seed")
    both = OccurrenceRate(same.shown + other.shown, same.runs + other.runs)
    categories: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.observation not in ("shows", "absent"):
            categories[outcome.observation] = categories.get(outcome.observation, 0) + 1
    return RepeatResult(
        occurrence=_occurrence(both),
        same_seed=RateOfRuns.of(same),
        other_seeds=RateOfRuns.of(other),
        with_faults=RateOfRuns.of(both),
        only_with_faults=_only_with_faults(both, _rate(outcomes, "without faults")),
        infrastructure=categories,
    )


def _rate(outcomes: Sequence[RepeatOutcome], variant: Variant) -> OccurrenceRate:
    return OccurrenceRate.of(each.observation for each in outcomes if each.variant == variant)


def _occurrence(rate: OccurrenceRate) -> Occurrence:
    if not rate.runs:
        return "unknown"
    if rate.always:
        return "always"
    return "flaky" if rate.flaky else "not again"


def _only_with_faults(with_faults: OccurrenceRate, without: OccurrenceRate) -> bool | None:
    """Runs without faults prove something only where a failure with this rate would have shown in them."""
    if not with_faults.shown or not without.runs:
        return None
    if without.shown:
        return False
    missed = (1 - with_faults.shown / with_faults.runs) ** without.runs
    return True if missed < MISS else None


def result_lines(result: RepeatResult) -> Iterator[str]:
    """What the repeats say, for people."""
    yield f"{result.occurrence}: {rate_text(result.with_faults)}"
    yield f"  same seed: {rate_text(result.same_seed)}"
    yield f"  other seeds: {rate_text(result.other_seeds)}"
    if result.only_with_faults is not None:
        yield f"  without its faults: {'not shown' if result.only_with_faults else 'shown, too'}"
    for category, count in result.infrastructure.items():
        yield f"  not counted: {count} of {category}"


def rate_text(rate: RateOfRuns) -> str:
    """Counts and interval."""
    if not rate.runs:
        return "no run"
    return f"{rate.shown} of {rate.runs} runs, rate {rate.low:.2f} to {rate.high:.2f} (95 %)"
