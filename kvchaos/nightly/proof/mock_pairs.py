"""Pairs of runs against two mock servers whose difference is known: control and candidate, interleaved.

The real load workers send the load, and the figures are those of any other measurement. The noise of a run
is drawn by the servers: a run has few requests, whose times are lognormal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from kvchaos.bench.bench_file import FIGURES, Figure, PhaseFigures
from kvchaos.nightly.proof.mock_runs import GAPS, REQUESTS, MockPairsFailed, MockSide
from loadtests.mock.mock_process import Lognormal, Settings

MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean, for a normal distribution."""
MAX_ATTEMPTS = 40
"""Of one run."""
DelayedFigure = Literal["ttft-median", "itl-median"]
Slowdowns = dict[str, list[float]]
"""By figure the slowdown of each pair, in the order of the pairs."""


@dataclass(frozen=True, slots=True)
class MockBuild:
    """A build of the mock server: its median times."""

    ttft_ms: float = 150.0
    itl_ms: float = 25.0

    def slower(self, figure: DelayedFigure, ratio: float) -> MockBuild:
        """The same with one of the times multiplied."""
        if figure == "ttft-median":
            return replace(self, ttft_ms=self.ttft_ms * ratio)
        return replace(self, itl_ms=self.itl_ms * ratio)

    def settings(self, noise: float, seed: int) -> Settings:
        """Of a server whose medians of TTFT and of ITL have this standard deviation, as a share, in each run.

        Control and candidate need different seeds: the servers draw by seed and id of the request.
        """
        return Settings(
            seed=seed,
            ttft=Lognormal(median_ms=self.ttft_ms, sigma=noise * math.sqrt(REQUESTS) / MEDIAN_ERROR),
            itl=Lognormal(median_ms=self.itl_ms, sigma=noise * math.sqrt(GAPS) / MEDIAN_ERROR),
        )


def slowdown(figure: Figure, control: PhaseFigures, candidate: PhaseFigures) -> float | None:
    """Logarithm of candidate over control, positive where the candidate is slower; None: not measured."""
    before, after = figure.of(control), figure.of(candidate)
    if not before or not after:
        return None
    return math.log(before / after) if figure.more_is_better else math.log(after / before)


def slowdowns(pairs: Sequence[tuple[PhaseFigures, PhaseFigures]]) -> Slowdowns:
    """Of each figure that all pairs have; a pair is control and candidate."""
    found: Slowdowns = {}
    for figure in FIGURES:
        values = [slowdown(figure, control, candidate) for control, candidate in pairs]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            found[figure.key] = known
    return found


class MockPairs:
    """Measures pairs: `with MockPairs(folder) as pairs: pairs.serve(...); pairs.measure(6)`.

    The load workers start once and serve any number of nights. Raises MockPairsFailed, OSError,
    loadtests.mock.mock_process.MockFailed.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` gets the records of the runs."""
        self._control, self._candidate = MockSide(folder / "side-1"), MockSide(folder / "side-2")
        self._runs = 0
        self._counted = 0
        self._open = ExitStack()
        self.excluded = 0
        """Runs that were repeated at once, since the machine was late in them."""

    def serve(self, control: MockBuild, candidate: MockBuild, noise: float, seed: int) -> None:
        """Start both servers, or start them again as other builds. Their first pair is a warm-up.

        The load workers swap their servers each time: what differs between them, differs by turns.
        """
        self._control, self._candidate = self._candidate, self._control
        self._control.serve(control.settings(noise, 2 * seed))
        self._candidate.serve(candidate.settings(noise, 2 * seed + 1))
        self._runs += 1
        for side in (self._control, self._candidate):
            side.run(f"run-{self._runs}")

    def measure(self, count: int) -> Slowdowns:
        """Measure so many more pairs in the order A B B A."""
        return slowdowns([self._pair() for _ in range(count)])

    def _pair(self) -> tuple[PhaseFigures, PhaseFigures]:
        self._counted += 1
        if self._counted % 2:
            control = self._run(self._control)
            return control, self._run(self._candidate)
        candidate = self._run(self._candidate)
        return self._run(self._control), candidate

    def _run(self, side: MockSide) -> PhaseFigures:
        """A run that counts."""
        for _ in range(MAX_ATTEMPTS):
            self._runs += 1
            run = side.run(f"run-{self._runs}")
            if run.on_time:
                return run.figures
            self.excluded += 1
        raise MockPairsFailed(f"the machine was late in {MAX_ATTEMPTS} runs, one after the other")

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for side in (self._control, self._candidate):
                started.enter_context(side)
            self._open = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
