"""The proof of the bisection: resampled searches, and live ones over builds of the mock server."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np

from kvchaos.nightly.build_bisection import LocatedStep, Measure, locate
from kvchaos.nightly.proof.mock_pairs import MockBuild, MockPairs
from kvchaos.nightly.proof.pair_resampling import Floats
from kvchaos.nightly.proof.proof_data import BisectionShares
from kvchaos.nightly.proof.proof_runs import DELAYED_FIGURES, DELAYS, PLAN, utc_now
from kvchaos.nightly.proof.stored_pairs import (
    BISECTIONS,
    DIGITS,
    StoredBisection,
    StoredPairs,
    StoredProbe,
    append_pairs,
    read_pairs,
)

BUILDS = 32
"""After the reference: any of them may be the first slow one."""
DELAY = DELAYS[0]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PairPools:
    """Pairs of one figure: of equal builds, and with the delay."""

    equal: Floats
    delayed: Floats


def bisection_shares(stored: StoredPairs, seed: int, searches: int) -> Iterator[BisectionShares]:
    """Searches whose pairs are drawn from stored ones; nothing where too little is stored."""
    pools = [pool for figure in DELAYED_FIGURES if (pool := pair_pools(stored, figure)) is not None]
    if not pools:
        return
    rng = np.random.default_rng([seed, searches])
    results: list[tuple[bool, LocatedStep]] = []
    for number in range(searches):
        slow_from = int(rng.integers(1, BUILDS + 1))
        found = resampled_search(pools[number % len(pools)], slow_from, rng)
        results.append((found.first_bad == str(slow_from), found))
    located = [found for _, found in results if found.first_bad is not None]
    right = sum(is_right for is_right, _ in results)
    yield BisectionShares(
        kind="resampled",
        builds=BUILDS,
        trials=searches,
        right=right,
        wrong=len(located) - right,
        most_built=max(len(found.built) for _, found in results),
        mean_pairs=fmean(found.pairs for _, found in results),
        confidence=fmean(found.confidence for _, found in results),
    )


def pair_pools(stored: StoredPairs, figure: str) -> PairPools | None:
    """Stored pairs of one figure; None where a kind is missing."""
    equal = [each for night in stored.mock_aa for each in night.screen[figure]]
    delayed = [
        each
        for night in stored.delayed
        if night.delayed == figure and math.isclose(night.step, math.log(DELAY.ratio), abs_tol=1e-5)
        for stage in (night.screen, night.confirm)
        for each in stage[figure]
    ]
    return PairPools(np.array(equal), np.array(delayed)) if equal and delayed else None


def resampled_search(pools: PairPools, slow_from: int, rng: np.random.Generator) -> LocatedStep:
    """One search, from the step that a night's confirmation states to its end."""

    def measure(control: str, candidate: str, pairs: int) -> list[float]:
        pool = pools.delayed if int(control) < slow_from <= int(candidate) else pools.equal
        return [float(each) for each in rng.choice(pool, pairs)]

    step = float(rng.choice(pools.delayed, PLAN.confirm_pairs).mean())
    return locate([str(build) for build in range(BUILDS + 1)], measure, step)


def measure_bisections(pairs: MockPairs, folder: Path, wanted: int, seed: int, report: Report) -> None:
    """Search live until so many searches are stored. Raises as MockPairs does, and UsageError."""
    for index in range(len(read_pairs(folder).bisections), wanted):
        search = _LiveSearch(pairs, folder, index, seed)
        stored = search.run()
        append_pairs(folder / BISECTIONS, stored)
        report(
            f"bisection {index + 1} of {wanted}: slow from {stored.slow_from}, found {stored.found}, "
            f"{len(stored.built)} builds"
        )


class _LiveSearch:
    """One live search among builds of the mock server."""

    def __init__(self, pairs: MockPairs, folder: Path, index: int, seed: int) -> None:
        self._pairs = pairs
        self._folder = folder
        self._figure = DELAYED_FIGURES[index % len(DELAYED_FIGURES)]
        self._seed = seed + 3000 + 100 * index
        self._slow_from = Random(self._seed).randint(1, BUILDS)
        self._served: tuple[int, int] | None = None
        self._probes: list[StoredProbe] = []

    def run(self) -> StoredBisection:
        night, excluded = utc_now(), self._pairs.excluded
        measure: Measure = self._measure
        found = locate([str(build) for build in range(BUILDS + 1)], measure, self._stated_step())
        return StoredBisection(
            night=night,
            builds=BUILDS,
            slow_from=self._slow_from,
            delayed=self._figure,
            step=round(math.log(DELAY.ratio), DIGITS),
            drawn_noise=DELAY.drawn_noise,
            found=None if found.first_bad is None else int(found.first_bad),
            confidence=round(found.confidence, DIGITS),
            reason=found.reason,
            built=[int(build) for build in found.built],
            excluded=self._pairs.excluded - excluded,
            load_average=round(os.getloadavg()[0], 2),
            probes=self._probes,
        )

    def _stated_step(self) -> float:
        """What a night's confirmation found of this delay; the known step where none is stored."""
        for night in reversed(read_pairs(self._folder).delayed):
            if night.delayed == self._figure and night.step < math.log(DELAYS[1].ratio) - 0.01:
                return fmean(night.confirm[self._figure])
        return math.log(DELAY.ratio)

    def _measure(self, control: str, candidate: str, pairs: int) -> list[float]:
        ends = int(control), int(candidate)
        if ends != self._served:
            self._served = ends
            builds = [self._build(build) for build in ends]
            self._pairs.serve(builds[0], builds[1], DELAY.drawn_noise, self._seed + len(self._probes))
        measured = [round(each, DIGITS) for each in self._pairs.measure(pairs)[self._figure]]
        self._probes.append(StoredProbe(control=ends[0], candidate=ends[1], slowdowns=measured))
        return measured

    def _build(self, number: int) -> MockBuild:
        build = MockBuild()
        return build.slower(self._figure, DELAY.ratio) if number >= self._slow_from else build


def live_shares(searches: Sequence[StoredBisection]) -> Iterator[BisectionShares]:
    """Of the stored live searches."""
    if not searches:
        return
    right = sum(search.found == search.slow_from for search in searches)
    yield BisectionShares(
        kind="live",
        builds=BUILDS,
        trials=len(searches),
        right=right,
        wrong=sum(search.found is not None for search in searches) - right,
        most_built=max(len(search.built) for search in searches),
        mean_pairs=fmean(sum(len(probe.slowdowns) for probe in search.probes) for search in searches),
        confidence=fmean(search.confidence for search in searches),
    )
