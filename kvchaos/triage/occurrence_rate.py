"""How often a failure occurs, and how many runs without it prove that it is gone. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest

from kvchaos.triage.failure_signature import Observation

MISS = 0.01
"""Probability at which a flaky failure may be missed."""
MAX_TRIES = 20
"""Of a scenario that may be smaller: more runs cost more than it is worth."""


@dataclass(frozen=True, slots=True)
class OccurrenceRate:
    """Runs that show a failure, of those that can say."""

    shown: int
    runs: int

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> OccurrenceRate:
        """Failures of the infrastructure do not count."""
        counted = [each == "shows" for each in observations if each in ("shows", "absent")]
        return cls(sum(counted), len(counted))

    @property
    def always(self) -> bool:
        """Whether each run shows it."""
        return self.shown == self.runs > 0

    @property
    def flaky(self) -> bool:
        """Whether some runs show it, and some do not."""
        return 0 < self.shown < self.runs

    @property
    def estimate(self) -> float:
        """Mean by Jeffreys' prior: a few runs that all show it are no proof of a rate of 1."""
        return (self.shown + 0.5) / (self.runs + 1)

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate; 0 to 1 without runs."""
        if not self.runs:
            return 0.0, 1.0
        found = binomtest(self.shown, self.runs).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.shown} of {self.runs} runs, rate {low:.2f} to {high:.2f}"


def tries_for(rate: float, miss: float = MISS) -> int:
    """Runs after which a failure of this rate was missed with at most this probability.

    Raises ValueError for a rate of 0.
    """
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"{rate} is no rate of a failure that occurs")
    if rate == 1.0:
        return 1
    # A rounding error of the logarithms must not add a run.
    return max(math.ceil(math.log(miss) / math.log1p(-rate) - 1e-9), 1)


@dataclass(frozen=True, slots=True)
class AcceptanceRule:
    """A scenario shows a failure if `needed` of at most `tries` runs show it."""

    tries: int
    needed: int

    def decide(self, shown: int, absent: int) -> bool | None:
        """None: more runs are needed."""
        if self.needed == self.tries and absent:
            return False
        if shown >= self.needed:
            return True
        return False if self.tries - absent < self.needed else None

    def __str__(self) -> str:
        return f"{self.needed} of at most {self.tries} runs must show it"


ALWAYS_RULE = AcceptanceRule(tries=2, needed=2)
"""Of a failure that every run shows. The first run without it rejects; two with it rule out most luck."""
STRICT_RULE = AcceptanceRule(tries=4, needed=4)
"""After luck has misled the search."""


def quick_rule(rate: OccurrenceRate) -> AcceptanceRule:
    """The rule by the estimate of the rate."""
    if rate.always:
        return ALWAYS_RULE
    return AcceptanceRule(min(tries_for(rate.estimate), MAX_TRIES), 1)


def thorough_rule(rate: OccurrenceRate) -> AcceptanceRule:
    """The rule by the lowest likely rate: more runs, so that a few runs of luck do not mislead it."""
    if rate.always:
        return ALWAYS_RULE
    low, _ = rate.interval()
    return AcceptanceRule(min(tries_for(low), MAX_TRIES) if low > 0 else MAX_TRIES, 1)
