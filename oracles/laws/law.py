"""What a law about the server's series is: a relation between sums of them, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from history.columnar import Flags, Values
from history.metrics import MetricLog
from oracles.findings import Rule

Release = tuple[int, int]
EVER: Release = (99, 0)
Unit = Literal["requests", "prompt_tokens", "generated_tokens"]
"""Of `oracles.laws.strays.Spare`."""
FLOATS = 1e-6


@dataclass(frozen=True, slots=True)
class Term:
    """The sum over the series of a metric that carry these labels, but for those that `without` names."""

    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def at_each(self, log: MetricLog) -> tuple[Values, Flags]:
        """The sum at each scrape, and whether there is one."""
        sums, known = np.zeros(len(log)), np.zeros(len(log), np.bool_)
        for series in log.find(self.metric, **self.labels):
            if any(series.labels.get(name) == value for name, value in self.without.items()):
                continue
            values, there = series.at_each(len(log))
            sums += np.where(there, values, 0.0)
            known |= there
        return sums, known


@dataclass(frozen=True, slots=True)
class Law:
    """A relation between two sums of series that one process exports."""

    rule: Rule
    left: tuple[Term, ...]
    sense: Literal["is", "at most"]
    right: tuple[Term, ...]
    """Nothing stands for 0."""
    at_rest: bool = False
    """Holds where all requests ended, and ended well; else at each scrape."""
    since: Release = (0, 0)
    before: Release = EVER
    unit: Unit | None = None
    """Of a law at rest: what requests that did not end well may have added to one side alone. Without a unit
    the law is not judged where there are such requests."""
    slack: float = FLOATS
    """Of sums of times, as a share of the larger side: floats are added in another order."""

    def binds(self, release: Release) -> bool:
        return self.since <= release < self.before

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(term.metric for term in (*self.left, *self.right))

    def breaks(self, left: Values, right: Values, spare: float = 0.0) -> Flags:
        """Where two values of the sides differ by more than what is spare."""
        allowed = spare + self.slack * np.maximum(np.maximum(np.abs(left), np.abs(right)), 1.0)
        over = left - right > allowed
        return over if self.sense == "at most" else over | (right - left > allowed)

    def holds(self, left: float, right: float, spare: float = 0.0) -> bool:
        """The same of one pair of values."""
        return not bool(self.breaks(np.array([left]), np.array([right]), spare)[0])


def sides(log: MetricLog, law: Law) -> tuple[Values, Values, Flags]:
    """Both sides at each scrape, and whether all their series are there."""
    left, known = _sum(log, law.left)
    right, others = _sum(log, law.right)
    return left, right, known & others


def _sum(log: MetricLog, terms: Iterable[Term]) -> tuple[Values, Flags]:
    total, known = np.zeros(len(log)), np.ones(len(log), np.bool_)
    for term in terms:
        values, there = term.at_each(log)
        total += values
        known &= there
    return total, known


def broken_at(log: MetricLog, law: Law, settled: Iterable[int]) -> list[tuple[int, float, float]]:
    """The first scrapes of stretches in which a law is broken, with its two sides.

    Only at scrapes that are settled, and at those that show of these series what the scrape before showed:
    while the server counts, a scrape may read one series before a step and another after it.
    """
    left, right, known = sides(log, law)
    broken = law.breaks(left, right)
    looked = known & _still(log, law)
    looked[list(settled)] = known[list(settled)]
    indexes = np.flatnonzero(looked)
    wrong = broken[indexes]
    begins = indexes[wrong & ~np.append(False, wrong[:-1])]
    return [(int(at), float(left[at]), float(right[at])) for at in begins.tolist()]


def _still(log: MetricLog, law: Law) -> Flags:
    still = np.ones(len(log), np.bool_)
    still[:1] = False
    for metric in law.metrics:
        for series in log.find(metric):
            still[series.at] = False
    return still
