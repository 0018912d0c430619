"""The first and the last release that show a failure: bisection on both sides of one that shows it. Pure.

It assumes that the releases which show the failure follow each other: a bug begins once and ends once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal

from kvchaos.triage.repeated_trials import Decision

Probes = Generator[int, Decision, "ReleaseRange"]
"""Yields the index of a release to examine, and gets what it shows."""
Side = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class ReleaseRange:
    """Indices into releases in the order of their versions."""

    first: int
    last: int
    absent_before: int | None
    """The last one without the failure before `first`; None: the oldest one shows it."""
    absent_after: int | None
    """The first one without it after `last`; None: the newest one shows it."""

    @property
    def untested(self) -> list[int]:
        """Between the range and its neighbours: they could not be tested."""
        before = range(self.first if self.absent_before is None else self.absent_before + 1, self.first)
        after = range(self.last + 1, self.last + 1 if self.absent_after is None else self.absent_after)
        return [*before, *after]


def bisect_releases(count: int, known: Mapping[int, Decision]) -> Probes:
    """`known`: what is known before; at least one release shows the failure."""
    results = dict(known)
    shown = [index for index, decision in results.items() if decision == "shows"]
    if not shown:
        raise ValueError("no release is known that shows the failure")
    first, before = yield from _edge(min(shown), 0, results)
    last, after = yield from _edge(max(shown), count - 1, results)
    return ReleaseRange(first, last, before, after)


def _edge(
    shown: int, end: int, results: dict[int, Decision]
) -> Generator[int, Decision, tuple[int, int | None]]:
    """The outermost release toward an end that shows the failure, and the next one that does not."""
    step = -1 if end < shown else 1
    outside = range(shown + step, end + step, step) if end != shown else range(0)
    absent = next((index for index in outside if results.get(index) == "absent"), None)
    if absent is None:
        # From the end inwards: what cannot be tested there says nothing.
        for index in reversed(outside):
            decision = yield from _probe(index, results)
            if decision == "shows":
                return index, None
            if decision == "absent":
                absent = index
                break
        else:
            return shown, None
    while (middle := _middle(shown, absent, results)) is not None:
        decision = yield from _probe(middle, results)
        if decision == "shows":
            shown = middle
        elif decision == "absent":
            absent = middle
    return shown, absent


def _probe(index: int, results: dict[int, Decision]) -> Generator[int, Decision, Decision]:
    if index not in results:
        results[index] = yield index
    return results[index]


def _middle(shown: int, absent: int, results: Mapping[int, Decision]) -> int | None:
    """The release nearest to the middle between both that can be tested; None: none is left."""
    low, high = sorted((shown, absent))
    left = [index for index in range(low + 1, high) if results.get(index) != "untestable"]
    return min(left, key=lambda index: abs(2 * index - low - high), default=None)
