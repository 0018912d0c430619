"""Shrinks a scenario: drives the search with runs, as long as the signature stays and the budget lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from history.scenario import Scenario
from kvchaos.campaign.run_budget import BudgetSpent
from kvchaos.triage.occurrence_rate import (
    STRICT_RULE,
    AcceptanceRule,
    OccurrenceRate,
    quick_rule,
    thorough_rule,
)
from kvchaos.triage.repeated_trials import (
    ConductedRun,
    NotShownAgain,
    RepeatedTrials,
    TrialSubject,
)
from kvchaos.triage.shrinking import Precision, ShrinkStep, shrink
from kvchaos.triage.shrunk_scenario import brief_size, scenario_digest

FIRST_RUNS = 2
"""Of the failing scenario, next to the failing run itself."""
FLAKY_CHECK_RUNS = 6
"""Of a scenario that always showed the failure, when a smaller one does not."""
CONFIRMING_RUNS = 5
"""Of the smallest scenario."""
START = "the failing scenario"
CONFIRMATION = "confirmation"


class LuckyScenario(Exception):
    """The smallest scenario is flaky: it was accepted by luck, or the failure is flaky."""


@dataclass(frozen=True, slots=True)
class ShrinkOutcome:
    """The end of a shrink."""

    scenario: Scenario
    before: OccurrenceRate
    """Of the failing scenario."""
    after: OccurrenceRate
    """Of the smallest one."""
    rule: AcceptanceRule
    """By which the last scenarios were accepted."""
    complete: bool
    """No step makes it smaller; False: the budget was spent before."""


class ShrinkSession:
    """One shrink. It gives the smallest scenario so far, whatever ends it."""

    def __init__(
        self,
        start: Scenario,
        steps_of: Callable[[Scenario], Iterable[ShrinkStep[Scenario]]],
        conduct: Callable[[Scenario], ConductedRun],
        trials: RepeatedTrials,
    ) -> None:
        self._accepted = [start]
        """All that were accepted, the last one the smallest."""
        self._steps_of = steps_of
        self._conduct = conduct
        self._trials = trials
        self._rule = AcceptanceRule(1, 1)

    @property
    def smallest(self) -> Scenario:
        """The smallest scenario so far."""
        return self._accepted[-1]

    @property
    def _start(self) -> Scenario:
        return self._accepted[0]

    def run(self) -> ShrinkOutcome:
        """Shrink until nothing is smaller or the budget is spent. Raises NotShownAgain, UsageError."""
        complete = False
        try:
            self._rule = quick_rule(self._trials.first_rate(self._subject(self._start, START), FIRST_RUNS))
            self._search_all()
            complete = True
        except BudgetSpent:
            if not self._rate(self._start).shown:
                raise NotShownAgain(self._rate(self._start)) from None
        return ShrinkOutcome(
            self.smallest,
            self._rate(self._start),
            self._confirmed_rate(),
            self._rule,
            complete,
        )

    def _search_all(self) -> None:
        """Coarse, then exact; again when the smallest scenario turns out to be flaky."""
        self._search("coarse")
        self._search("exact")
        while (rate := self._confirm()).shown < rate.runs and self._rule.needed > 1:
            self._recover()
            self._search("exact")
        if self._rule.needed == 1:
            # What few runs have rejected may have been missed.
            self._rule = thorough_rule(self._whole_rate(rate))
            self._search("exact")
            self._confirm()

    def _recover(self) -> None:
        """The smallest scenario is flaky: go back to one that is not, unless the failure always was."""
        rate = self._repeated(self._start)
        if rate.flaky:
            self._rule = quick_rule(rate)
            return
        low, high = 0, len(self._accepted) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if self._repeated(self._accepted[middle]).always:
                low = middle
            else:
                high = middle
        del self._accepted[low + 1 :]
        self._rule = STRICT_RULE

    def _repeated(self, scenario: Scenario) -> OccurrenceRate:
        return self._trials.repeat(self._subject(scenario, "is it flaky"), FLAKY_CHECK_RUNS)

    def _search(self, precision: Precision) -> None:
        while True:
            try:
                self._search_once(precision)
            except LuckyScenario:
                self._recover()
            else:
                return

    def _search_once(self, precision: Precision) -> None:
        search = shrink(self.smallest, self._steps_of, precision)
        try:
            reduction = next(search)
            while True:
                accepted = self._accept(reduction.state, reduction.step)
                if accepted:
                    self._replace(reduction.state)
                reduction = search.send(accepted)
        except StopIteration:
            return

    def _replace(self, smaller: Scenario) -> None:
        if len(self._accepted) > 1:
            self._trials.discard(scenario_digest(self.smallest))
        self._accepted.append(smaller)

    def _accept(self, scenario: Scenario, step: str) -> bool:
        """Whether the signature stays."""
        subject = self._subject(scenario, step)
        decision = self._trials.decide(subject, self._rule)
        by_half = self._rule.needed > 1 and self._trials.rate(subject.key).flaky
        # Either the scenario shows it by luck, or the failure was flaky all the time.
        if decision == "absent" and by_half and self._repeated(self.smallest).flaky:
            raise LuckyScenario
        return decision == "shows"

    def _confirm(self) -> OccurrenceRate:
        """The rate of the smallest scenario by runs that no acceptance has chosen."""
        key = scenario_digest(self.smallest)
        subject = self._subject(self.smallest, CONFIRMATION)
        while self._confirmed(key).runs < CONFIRMING_RUNS:
            if self._trials.run(subject).observation not in ("shows", "absent"):
                break
        return self._confirmed(key)

    def _confirmed(self, key: str) -> OccurrenceRate:
        trials = self._trials.log.of(key)
        return OccurrenceRate.of(trial.observation for trial in trials if trial.step == CONFIRMATION)

    def _confirmed_rate(self) -> OccurrenceRate:
        """Of the runs that confirm; of all runs where there are none."""
        confirmed = self._confirmed(scenario_digest(self.smallest))
        return confirmed if confirmed.runs else self._rate(self.smallest)

    def _whole_rate(self, confirmed: OccurrenceRate) -> OccurrenceRate:
        """Of the failing and the smallest scenario together: a few runs alone say little."""
        first = self._rate(self._start)
        if first.always:
            return confirmed
        return OccurrenceRate(first.shown + confirmed.shown, first.runs + confirmed.runs)

    def _rate(self, scenario: Scenario) -> OccurrenceRate:
        return self._trials.rate(scenario_digest(scenario))

    def _subject(self, scenario: Scenario, step: str) -> TrialSubject:
        return TrialSubject(
            key=scenario_digest(scenario),
            step=step,
            conduct=lambda: self._conduct(scenario),
            scenario=msgspec.json.encode(scenario.model_dump(mode="json")),
            size=brief_size(scenario),
        )
