"""Which run a night makes next: a mix by weight, decided by the night's date and the run's number. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvchaos.stability.campaign_records import Category, RepeatedFailure

WEIGHTS: Mapping[Category, int] = {"new": 60, "failed before": 20, "known bug": 20}
"""Shares of a night, in percent. A category without candidates leaves its share to the others."""
SEED_RANGE = 2**31
"""Seeds of new runs lie below."""


@dataclass(frozen=True, slots=True)
class RunChoice:
    """A scenario and a seed."""

    scenario: str
    seed: int


@dataclass(frozen=True, slots=True)
class NextRun:
    """The choice for one number of a night."""

    number: int
    category: Category
    choice: RunChoice
    repeat: RepeatedFailure | None = None


@dataclass(frozen=True, slots=True)
class RunMix:
    """All that a night can run."""

    night: str
    """Its date seeds all choices."""
    scenarios: Sequence[str]
    """Of new seeds."""
    control: RunChoice
    """The positive control, the first run of a night."""
    failed: Sequence[RunChoice] = ()
    """Runs that failed before, the latest first."""
    known: Sequence[RunChoice] = ()
    """Runs that show the known bugs of the build."""

    def at(self, number: int) -> NextRun:
        """The run with this number, from 0. The same for the same mix, so a night can be resumed."""
        if number == 0:
            return NextRun(0, "positive control", self.control)
        made: dict[Category, int] = dict.fromkeys(self._available, 0)
        for _ in range(number):
            category = _furthest_behind(made)
            made[category] += 1
        return NextRun(number, category, self._choice(category, made[category] - 1))

    @property
    def _available(self) -> list[Category]:
        candidates: dict[Category, Sequence[object]] = {
            "new": self.scenarios,
            "failed before": self.failed,
            "known bug": self.known,
        }
        return [category for category, found in candidates.items() if found]

    def _choice(self, category: Category, index: int) -> RunChoice:
        if category == "failed before":
            return self.failed[index % len(self.failed)]
        if category == "known bug":
            return self.known[index % len(self.known)]
        order = sorted(
            self.scenarios, key=lambda name: self._draw("order", name, index // len(self.scenarios))
        )
        scenario = order[index % len(order)]
        return RunChoice(scenario, self._draw("seed", scenario, index) % SEED_RANGE)

    def _draw(self, purpose: str, name: str, index: int) -> int:
        text = f"{self.night} {purpose} {name} {index}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _furthest_behind(made: Mapping[Category, int]) -> Category:
    """The category whose share is least fulfilled; the first of equals."""
    return min(made, key=lambda category: (made[category] + 1) / WEIGHTS[category])
