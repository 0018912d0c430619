"""The live part of the proof: nights on the mock server, equal builds or one with a known delay.

Each night starts both servers again, and measures and decides as any night does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kvchaos.nightly.decision import needs_confirmation
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.proof.mock_pairs import DelayedFigure, MockBuild, MockPairs, Slowdowns
from kvchaos.nightly.proof.stored_pairs import (
    DELAYED,
    DIGITS,
    MOCK_AA,
    StoredNight,
    append_pairs,
    read_pairs,
    rounded,
)

PLAN = Procedure()
LEAST_STEP = math.log(1.03)
WATCHED = ("ttft-median", "itl-median", "e2el-median", "throughput")
"""Figures of the mock server that raise alarms."""
LEAST_STEPS = dict.fromkeys(WATCHED, round(LEAST_STEP, DIGITS))
DELAYED_FIGURES: tuple[DelayedFigure, ...] = ("ttft-median", "itl-median")
IN_A_ROW = 3
"""Nights with the same delay, one after the other: a change that stays is found on one of them."""
MOCK = "mock"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KnownDelay:
    """A delay of the candidate, and the noise of a run at which it has to be found."""

    ratio: float
    noise: float
    """Most that a run may have, as a share."""
    drawn_noise: float
    """What the server draws of it; the machine adds to it."""

    @property
    def step(self) -> float:
        """The delay as it is stored: the logarithm of the ratio."""
        return round(math.log(self.ratio), DIGITS)


DELAYS = (KnownDelay(1.05, 0.02, 0.018), KnownDelay(1.10, 0.03, 0.026))
AA_NOISE = DELAYS[0].drawn_noise


def measure_nights(pairs: MockPairs, folder: Path, wanted: int, seed: int, report: Report) -> None:
    """Measure nights of equal builds until so many are stored. Raises as MockPairs does, and UsageError."""
    for index in range(len(read_pairs(folder).mock_aa), wanted):
        build = MockBuild()
        night = utc_now()
        pairs.serve(build, build, AA_NOISE, seed + 1000 + index)
        excluded = pairs.excluded
        screen = pairs.measure(PLAN.screen_pairs)
        confirm = pairs.measure(PLAN.confirm_pairs) if _asks(screen) else {}
        stored = StoredNight(
            night=night,
            source=MOCK,
            drawn_noise=AA_NOISE,
            least_steps=LEAST_STEPS,
            excluded=pairs.excluded - excluded,
            load_average=round(os.getloadavg()[0], 2),
            screen=rounded(screen),
            confirm=rounded(confirm),
        )
        append_pairs(folder / MOCK_AA, stored)
        report(f"A/A night {index + 1} of {wanted}{', with a confirmation' if confirm else ''}")


def measure_delayed(pairs: MockPairs, folder: Path, wanted: int, seed: int, report: Report) -> None:
    """Measure nights with a known delay until so many are stored. Raises as `measure_nights` does."""
    stored_steps = [round(night.step, DIGITS) for night in read_pairs(folder).delayed]
    for index in range(wanted):
        delay, figure = known_delay(index)
        if index // len(DELAYS) < stored_steps.count(delay.step):
            continue
        build = MockBuild()
        night = utc_now()
        pairs.serve(build, build.slower(figure, delay.ratio), delay.drawn_noise, seed + 2000 + index)
        excluded = pairs.excluded
        screen = pairs.measure(PLAN.screen_pairs)
        # Also where the screen did not ask for it: otherwise only lucky pairs would be resampled.
        confirm = pairs.measure(PLAN.confirm_pairs)
        stored = StoredNight(
            night=night,
            source=MOCK,
            delayed=figure,
            step=delay.step,
            drawn_noise=delay.drawn_noise,
            least_steps=LEAST_STEPS,
            excluded=pairs.excluded - excluded,
            load_average=round(os.getloadavg()[0], 2),
            screen=rounded(screen),
            confirm=rounded(confirm),
        )
        append_pairs(folder / DELAYED, stored)
        report(f"delayed night {index + 1} of {wanted}: {figure} x {delay.ratio:g}")


def known_delay(index: int) -> tuple[KnownDelay, DelayedFigure]:
    """The delay of a live night by its number: both delays in turn, each for some nights on one figure."""
    turn, which = divmod(index, len(DELAYS))
    return DELAYS[which], DELAYED_FIGURES[turn // IN_A_ROW % len(DELAYED_FIGURES)]


def _asks(screen: Slowdowns) -> bool:
    return any(needs_confirmation(screen[series], LEAST_STEP, 0.0, PLAN) for series in WATCHED)


def utc_now() -> str:
    """The present as the id of a night."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
