"""Runs of one scenario on one server until a rule decides whether they show the failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from kvchaos.campaign.run_budget import RunBudget
from kvchaos.errors import UsageError
from kvchaos.triage.failure_signature import Observation
from kvchaos.triage.occurrence_rate import AcceptanceRule, OccurrenceRate
from kvchaos.triage.trial_log import NO_SCENARIO, Trial, TrialLog

INFRASTRUCTURE_RUNS = 2
"""Runs of one key that say nothing about the server; then it is given up."""
KEYS_IN_A_ROW = 3
"""Keys given up one after the other: then the environment is what fails."""
RATE_RUNS = 10
"""Of one that does not always show it, to know its rate."""
Decision = Literal["shows", "absent", "untestable"]


class NotShownAgain(Exception):
    """No run of the failing scenario shows the failure again."""

    def __init__(self, rate: OccurrenceRate) -> None:
        super().__init__(str(rate))
        self.rate = rate


@dataclass(frozen=True, slots=True)
class ConductedRun:
    """A run that has ended, however it ended."""

    observation: Observation
    seconds: float
    run: str | None = None
    """Name of its run directory; None: the run did not begin."""
    reason: str | None = None
    """Why it says nothing about the server."""


@dataclass(frozen=True, slots=True)
class TrialSubject:
    """What is run, and how."""

    key: str
    step: str
    conduct: Callable[[], ConductedRun]
    scenario: bytes | None = None
    """As JSON, for the log."""
    size: str = ""
    """For the line about each run."""


class RepeatedTrials:
    """Makes runs within a budget and writes each into a log; logged runs are not repeated."""

    def __init__(
        self, log: TrialLog, budget: RunBudget, discard: Callable[[str], None], report: Callable[[str], None]
    ) -> None:
        """`discard` removes a run directory; `report` gets a line for each run."""
        self.log = log
        self._budget = budget
        self._discard = discard
        self._report = report
        self._given_up = 0

    def decide(self, subject: TrialSubject, rule: AcceptanceRule) -> Decision:
        """Run until the rule decides, with the logged runs counted. Raises BudgetSpent, UsageError."""
        made: Trial | None = None
        while True:
            rate = self.rate(subject.key)
            decided = rule.decide(rate.shown, rate.runs - rate.shown)
            if decided is not None:
                if made is not None:
                    self._given_up = 0
                if not decided:
                    self.discard(subject.key)
                return "shows" if decided else "absent"
            if self._is_untestable(subject.key):
                self._give_up(made)
                return "untestable"
            made = self.run(subject)

    def repeat(self, subject: TrialSubject, runs: int) -> OccurrenceRate:
        """Run until so many runs of the key count. Raises BudgetSpent, UsageError."""
        while (rate := self.rate(subject.key)).runs < runs and not self._is_untestable(subject.key):
            self.run(subject)
        return rate

    def first_rate(self, subject: TrialSubject, runs: int) -> OccurrenceRate:
        """The rate of what is known to fail: of so many runs, or of RATE_RUNS where one does not show it.

        Raises NotShownAgain, BudgetSpent, UsageError.
        """
        rate = self.repeat(subject, runs)
        if not rate.always:
            rate = self.repeat(subject, RATE_RUNS)
        if not rate.shown:
            raise NotShownAgain(rate)
        return rate

    def rate(self, key: str) -> OccurrenceRate:
        """Over the logged runs of a key."""
        return OccurrenceRate.of(trial.observation for trial in self.log.of(key))

    def run(self, subject: TrialSubject) -> Trial:
        """Make one run and log it. Raises BudgetSpent, UsageError."""
        self._budget.take()
        made = subject.conduct()
        self._budget.ended(made.seconds)
        first = not self.log.of(subject.key)
        trial = Trial(
            key=subject.key,
            step=subject.step,
            observation=made.observation,
            seconds=round(made.seconds, 1),
            run=made.run,
            reason=made.reason,
            scenario=msgspec.Raw(subject.scenario) if first and subject.scenario else NO_SCENARIO,
        )
        self.log.add(trial)
        number = len(self.log.trials)
        reason = f": {made.reason}" if made.reason else ""
        size = f" ({subject.size})" if subject.size else ""
        self._report(f"run {number}, {made.seconds:.0f} s: {subject.step}{size}: {made.observation}{reason}")
        return trial

    def discard(self, key: str) -> None:
        """Remove the run directories of a key; the log keeps what the runs have shown."""
        for trial in self.log.of(key):
            if trial.run is not None and trial.observation in ("shows", "absent"):
                self._discard(trial.run)

    def _is_untestable(self, key: str) -> bool:
        """A server that does not start with these settings would not start with them again."""
        failed = [trial for trial in self.log.of(key) if trial.observation not in ("shows", "absent")]
        return len(failed) >= INFRASTRUCTURE_RUNS or any(
            trial.observation == "server start" for trial in failed
        )

    def _give_up(self, last: Trial | None) -> None:
        """`last`: the run that was one too many; None: it is of the log."""
        if last is None or last.observation == "server start":
            return
        self._given_up += 1
        if self._given_up >= KEYS_IN_A_ROW:
            raise UsageError(
                f"{KEYS_IN_A_ROW} scenarios in a row could not be judged: {last.observation}: {last.reason}"
            )
