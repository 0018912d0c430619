"""Progress of runs: a block that renews itself on a terminal, one line a phase elsewhere; the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from history.phase_spec import PhaseSpec
from history.scenario import Scenario
from loadtests.messages import Progress

REFRESHES_PER_S = 4.0


@dataclass(frozen=True, slots=True)
class CampaignPosition:
    """The position of a run in its campaign."""

    number: int = 1
    of: int = 1
    later_s: float | None = None
    """About how long the runs after it take; None while that is not known."""


@dataclass(slots=True)
class PhaseStatus:
    """The progress of one phase."""

    number: int
    """Number from 1."""
    spec: PhaseSpec
    began: float
    """Monotonic clock, s."""
    progress: Progress | None = None
    fired: int | None = None
    """Faults so far; None where none is armed."""
    ended: float | None = None

    @property
    def done(self) -> int:
        """Number of requests that have ended."""
        return 0 if self.progress is None else self.progress.ok + self.progress.failed

    def seconds(self, now: float) -> float:
        """Duration of the phase so far, or until its end."""
        return (now if self.ended is None else self.ended) - self.began

    def figures(self, now: float) -> str:
        """Requests, failures, tokens/s, faults."""
        failed, tokens = (self.progress.failed, self.progress.tokens) if self.progress else (0, 0)
        rate = tokens / max(self.seconds(now), 1e-3)
        text = f"{self.done} of {self.spec.requests} requests, {failed} failed, {rate:.0f} tokens/s"
        if self.fired is None:
            return text
        return f"{text}, {counted(self.fired, 'fault')} fired"


@dataclass(slots=True)
class RunProgress:
    """The progress of a run, as text."""

    scenario: Scenario
    position: CampaignPosition
    began: float
    step: str = ""
    phases: list[PhaseStatus] = field(default_factory=list)

    def lines(self, now: float) -> list[str]:
        """Lines of the block on a terminal."""
        name = self.scenario.name
        if self.position.of > 1:
            name = f"scenario {self.position.number} of {self.position.of}, {name}"
        phase = self.phases[-1] if self.phases and not self.step else None
        if phase is None:
            return [f"{name}: {self.step}", self._times(now)]
        planned = len(self.scenario.phases)
        first = f"{name}: phase {phase.spec.name}, {phase.number} of {planned}"
        return [first, phase.figures(now), self._times(now)]

    def _times(self, now: float) -> str:
        text = f"{clock(now - self.began)} since its start"
        left = self.left_s(now)
        if left is not None:
            text += f", about {about(left)} left"
        later = self.position.of - self.position.number
        if later and self.position.later_s is not None:
            text += f"; {counted(later, 'run')} after it: about {about(self.position.later_s)}"
        return text

    def left_s(self, now: float) -> float | None:
        """How long the requests that are left take at the rates so far; None before the first answer."""
        done = sum(phase.done for phase in self.phases)
        if not done:
            return None
        each_s = sum(phase.seconds(now) for phase in self.phases) / done
        last = self.phases[-1]
        later = sum(spec.requests for spec in self.scenario.phases[len(self.phases) :])
        each_now_s = last.seconds(now) / last.done if last.done else each_s
        unfinished = last.spec.requests - last.done if last.ended is None else 0
        return unfinished * each_now_s + later * each_s


class Display:
    """Shows what a run does. Use as a context manager around the run."""

    def __init__(
        self, console: Console, scenario: Scenario, position: CampaignPosition | None = None
    ) -> None:
        self._console = console
        self._run_progress = RunProgress(scenario, position or CampaignPosition(), time.monotonic())
        self._spinner = Spinner("dots")
        self._live = (
            Live(
                console=console,
                transient=True,
                refresh_per_second=REFRESHES_PER_S,
                get_renderable=self._block,
            )
            if console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, what: str) -> None:
        """A step outside of the phases begins."""
        self._run_progress.step = what
        if self._live is None:
            self._print(what)

    def phase_start(self, spec: PhaseSpec) -> None:
        """A phase begins."""
        run_progress = self._run_progress
        run_progress.step = ""
        run_progress.phases.append(PhaseStatus(len(run_progress.phases) + 1, spec, time.monotonic()))

    def phase(self, progress: Progress, fired: int | None) -> None:
        """Show the state of a phase; `fired` counts the faults so far, None in a phase without faults."""
        phase = self._run_progress.phases[-1]
        phase.progress, phase.fired = progress, fired

    def phase_end(self, progress: Progress, fired: int | None) -> None:
        """The last figures of the phase, kept where they do not bury the verdicts of other runs."""
        self.phase(progress, fired)
        phase = self._run_progress.phases[-1]
        phase.ended = time.monotonic()
        if self._live is None or self._run_progress.position.of == 1:
            self._print(f"phase {phase.spec.name}: {phase.figures(phase.ended)}")

    def _block(self) -> Spinner:
        first, *others = self._run_progress.lines(time.monotonic())
        self._spinner.update(text=Text("\n".join((first, *(f"  {line}" for line in others)))))
        return self._spinner

    def _print(self, text: str) -> None:
        run_progress = self._run_progress
        name, position = run_progress.scenario.name, run_progress.position
        head = f"{position.number}/{position.of} {name}" if position.of > 1 else name
        self._console.print(f"{head}: {text}", highlight=False, markup=False, soft_wrap=True)


COARSE_S = 5
MINUTE_S = 60.0
HOUR_MIN = 60


@dataclass(frozen=True, slots=True)
class RunDuration:
    """How long a run took that has ended."""

    whole_s: float
    """Seconds from the start of its server to its verdict."""
    load_s: float
    """Seconds of its phases."""
    requests: int
    """Sent in these phases."""


def left_s(ended: Sequence[RunDuration], requests: Iterable[int]) -> float | None:
    """Seconds for runs with so many requests each; None while no run has ended.

    A run takes a fixed time (its server starts, is drained and judged) and a time for each request.
    """
    if not ended:
        return None
    waiting = list(requests)
    fixed_s = sum(duration.whole_s - duration.load_s for duration in ended) / len(ended)
    sent = sum(duration.requests for duration in ended)
    each_s = sum(duration.load_s for duration in ended) / sent if sent else 0.0
    return fixed_s * len(waiting) + each_s * sum(waiting)


def about(seconds: float) -> str:
    """A duration in rough units: 45 s, 14 min, 2 h 5 min."""
    coarse = max(COARSE_S, COARSE_S * ceil(seconds / COARSE_S))
    if coarse < 2 * MINUTE_S:
        return f"{coarse} s"
    minutes = round(seconds / MINUTE_S)
    if minutes < HOUR_MIN:
        return f"{minutes} min"
    hours, rest = divmod(minutes, HOUR_MIN)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def clock(seconds: float) -> str:
    """A duration as a clock shows it: 0:42, 12:05, 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(count: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
