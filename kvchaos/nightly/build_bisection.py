"""Locating a step: a bisection over builds whose comparisons are noisy. Pure but for the measurement.

Each comparison of two builds gives a probability that the step lies between them. Together they give each
build a probability of being the first bad one. A wrong comparison is so outweighed by later ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Floats = npt.NDArray[np.float64]
Measure = Callable[[str, str, int], Sequence[float]]
"""Slowdowns of so many fresh pairs of a control and a candidate. Raises BuildUnusable."""
SURE = 1e-9
"""No comparison is surer than this: pairs may be equal by chance."""
GONE = 0.05
"""The search ends at once where both ends show the step with less confidence than this."""
VISITS = 3
"""So often one pair of builds is compared: again only where comparisons contradict each other."""


class BuildUnusable(Exception):
    """A build that cannot be measured, for example since it does not compile."""

    def __init__(self, build: str, reason: str) -> None:
        super().__init__(f"{build}: {reason}")
        self.build = build


@dataclass(frozen=True, slots=True)
class BisectionRules:
    """When a comparison ends, and when the search does."""

    block_pairs: int = 6
    max_pairs: int = 24
    """Of one comparison."""
    comparison_confidence: float = 0.99
    """A comparison ends when Student's interval excludes half of the step with this confidence, one-sided."""
    confidence: float = 0.99
    """That the first bad build must have."""
    spare_builds: int = 1
    """Builds that may be measured beyond those that a search without noise needs."""

    def max_builds(self, builds: int) -> int:
        """Builds to measure in a range of so many, besides both ends."""
        return math.ceil(math.log2(builds)) + self.spare_builds if builds > 1 else 0


@dataclass(frozen=True, slots=True)
class ComparedBuilds:
    """All pairs of two builds."""

    control: str
    candidate: str
    slowdowns: Sequence[float]


@dataclass(frozen=True, slots=True)
class LocatedStep:
    """The result of a search."""

    first_bad: str | None
    """None: not located, see `reason`."""
    confidence: float
    """Of `first_bad`, or of the range."""
    last_good: str
    """The step lies after this build and at or before `last_bad`."""
    last_bad: str
    built: Sequence[str]
    """Builds that were measured besides both ends, in this order."""
    compared: Sequence[ComparedBuilds]
    reason: str = ""

    @property
    def pairs(self) -> int:
        """Pairs that were measured."""
        return sum(len(each.slowdowns) for each in self.compared)


def locate(
    builds: Sequence[str], measure: Measure, step: float, rules: BisectionRules | None = None
) -> LocatedStep:
    """Find the first build that has the step. The first one is good, the last one bad; two or more.

    `step`: the slowdown of the last build against the first, as a night confirmed it.
    """
    if len(builds) < 2 or not step:
        raise ValueError("a search needs two builds and a step")
    return _Search(builds, measure, step, rules or BisectionRules()).run()


def shows_step(slowdowns: Sequence[float], step: float) -> float:
    """The confidence by Student's t that the true slowdown is on the step's side of half of it."""
    values = np.asarray(slowdowns, np.float64) / step - 0.5
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation == 0.0:
        return 1 - SURE if mean > 0 else SURE
    t = mean / (deviation / math.sqrt(len(values)))
    return min(max(float(stdtr(len(values) - 1, t)), SURE), 1 - SURE)


@dataclass
class _Search:
    builds: Sequence[str]
    measure: Measure
    step: float
    rules: BisectionRules
    pairs: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    visits: dict[tuple[int, int], int] = field(default_factory=dict)
    built: list[int] = field(default_factory=list)
    unusable: set[int] = field(default_factory=set)

    def run(self) -> LocatedStep:
        last = len(self.builds) - 1
        self._compare(0, last)
        shown = self._shows(0, last)
        # A night has confirmed the step, so only clear pairs against it end the search.
        if shown < GONE:
            return self._result((0, last), 1 - shown, "the last build does not show the step any more")
        while True:
            spans = self._spans()
            chances = self._chances(spans)
            best = int(chances.argmax())
            span, chance = spans[best], float(chances[best])
            chosen = self._next(spans, chances)
            if chosen is None:
                return self._ended(span, chance)
            self._compare(*chosen)

    def _next(self, spans: Sequence[tuple[int, int]], chances: Floats) -> tuple[int, int] | None:
        """The next comparison: of the two builds around the step once they are known, else with the first."""
        best = int(chances.argmax())
        if chances[best] >= self.rules.confidence:
            direct = spans[best]
            return None if direct in self.pairs else direct
        below = np.cumsum(chances)
        order = sorted(range(len(spans) - 1), key=lambda index: abs(below[index] - 0.5))
        probes = [(0, spans[index][1]) for index in order if min(below[index], 1 - below[index]) > SURE]
        return next((probe for probe in probes if self.visits.get(probe, 0) < VISITS), None)

    def _ended(self, span: tuple[int, int], chance: float) -> LocatedStep:
        if chance < self.rules.confidence:
            return self._result(span, chance, "the comparisons contradict each other")
        if span[1] - span[0] == 1:
            return self._result(span, chance, "")
        why = "cannot be measured" if self.unusable else "are more than one search measures"
        good, bad = (self.builds[build] for build in span)
        return self._result(span, chance, f"the builds between {good} and {bad} {why}")

    def _spans(self) -> list[tuple[int, int]]:
        """Where the step may lie, as far as builds can be measured: after one, at or before the other."""
        last = len(self.builds) - 1
        full = len(self.built) >= self.rules.max_builds(last)
        inner = self.built if full else range(1, last)
        marks = [0, *sorted(set(inner) - self.unusable), last]
        return list(pairwise(marks))

    def _chances(self, spans: Sequence[tuple[int, int]]) -> Floats:
        """Probability of each span; each build is as likely as any other before the first comparison."""
        logs = np.log([high - low for low, high in spans])
        for control, candidate in self.pairs:
            shown = self._shows(control, candidate)
            within = np.array([control <= low and high <= candidate for low, high in spans])
            logs += np.where(within, math.log(shown), math.log(1 - shown))
        weights: Floats = np.exp(logs - logs.max())
        weights /= weights.sum()
        return weights

    def _shows(self, control: int, candidate: int) -> float:
        return shows_step(self.pairs[control, candidate], self.step)

    def _compare(self, control: int, candidate: int) -> None:
        """Measure blocks of pairs until they are clear, or enough."""
        values: list[float] = list(self.pairs.get((control, candidate), ()))
        most = len(values) + self.rules.max_pairs
        try:
            while len(values) < most:
                block = min(self.rules.block_pairs, most - len(values))
                values += self.measure(self.builds[control], self.builds[candidate], block)
                self.pairs[control, candidate] = values
                shown = shows_step(values, self.step)
                if max(shown, 1 - shown) >= self.rules.comparison_confidence:
                    break
        except BuildUnusable as error:
            self._drop(self.builds.index(error.build))
            return
        self.visits[control, candidate] = self.visits.get((control, candidate), 0) + 1
        for build in (control, candidate):
            if 0 < build < len(self.builds) - 1 and build not in self.built:
                self.built.append(build)

    def _drop(self, build: int) -> None:
        """Go on without a build. Raises BuildUnusable for an end of the range."""
        if build in (0, len(self.builds) - 1):
            raise BuildUnusable(self.builds[build], "the search needs both ends of its range")
        self.unusable.add(build)
        self.pairs = {ends: values for ends, values in self.pairs.items() if build not in ends}

    def _result(self, span: tuple[int, int], confidence: float, reason: str) -> LocatedStep:
        return LocatedStep(
            first_bad=None if reason else self.builds[span[1]],
            confidence=confidence,
            last_good=self.builds[span[0]],
            last_bad=self.builds[span[1]],
            built=[self.builds[build] for build in self.built],
            compared=[
                ComparedBuilds(self.builds[control], self.builds[candidate], tuple(values))
                for (control, candidate), values in self.pairs.items()
            ],
            reason=reason,
        )
