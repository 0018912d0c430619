"""Bisects a failure over server environments: runs on each that is examined, until its rate decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from kvchaos.campaign.run_budget import BudgetSpent
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.triage.bisection_result import Bisection, ExaminedRelease, ShowingReleases
from kvchaos.triage.failure_repeats import RateOfRuns
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.occurrence_rate import AcceptanceRule, OccurrenceRate, tries_for
from kvchaos.triage.release_bisection import ReleaseRange, bisect_releases
from kvchaos.triage.repeated_trials import (
    ConductedRun,
    Decision,
    NotShownAgain,
    RepeatedTrials,
    TrialSubject,
)

FIRST_RUNS = 5
"""On the first server: more of them cost less than the runs that they save on each release without it."""


class ReleaseProber:
    """One bisection over servers in the order of their versions."""

    def __init__(
        self,
        servers: Sequence[ServerEnv],
        conduct: Callable[[ServerEnv], ConductedRun],
        trials: RepeatedTrials,
    ) -> None:
        self._servers = servers
        self._conduct = conduct
        self._trials = trials

    def run(self, start: int, absent: Collection[int], run: str, failure: FailureSignature) -> Bisection:
        """From the server at `start`, which shows the failure; those in `absent` do not, the user says.

        Raises NotShownAgain when the first one does not show it, UsageError.
        """
        results: dict[int, Decision] = dict.fromkeys(absent, "absent")
        found: ShowingReleases | None = None
        try:
            rate = self._trials.first_rate(self._subject(start), FIRST_RUNS)
            results[start] = "shows"
            found = self._names(self._range(start, results, absent))
        except BudgetSpent:
            rate = self._trials.rate(self._servers[start].name)
            if not rate.shown:
                raise NotShownAgain(rate) from None
        lowest = self._lowest_rate(start, results)
        tries = tries_for(lowest)
        return Bisection(
            run=run,
            failure=failure,
            rate=RateOfRuns.of(rate),
            tries=tries,
            miss=round((1 - lowest) ** tries, 5),
            releases=[self._examined(index, results, absent) for index in range(len(self._servers))],
            found=found,
        )

    def _range(self, start: int, results: dict[int, Decision], given: Collection[int]) -> ReleaseRange:
        """The range, with enough runs of its neighbours for the lowest rate that a release showed."""
        while True:
            found = self._search(results, self._rule(start, results))
            rule = self._rule(start, results)
            for index in (found.absent_before, found.absent_after):
                if index is not None and index not in given:
                    # Until its runs are made, it is not decided.
                    del results[index]
                    results[index] = self._trials.decide(self._subject(index), rule)
            neighbours = [found.absent_before, found.absent_after]
            if all(results[index] == "absent" for index in neighbours if index is not None):
                return found

    def _rule(self, start: int, results: Mapping[int, Decision]) -> AcceptanceRule:
        return AcceptanceRule(tries_for(self._lowest_rate(start, results)), 1)

    def _lowest_rate(self, start: int, results: Mapping[int, Decision]) -> float:
        """The estimate for the start, or that of a release with mixed runs if it is lower."""
        rates = {index: self._trials.rate(self._servers[index].name) for index in (start, *results)}
        return min(rate.estimate for index, rate in rates.items() if index == start or rate.flaky)

    def _search(self, results: dict[int, Decision], rule: AcceptanceRule) -> ReleaseRange:
        probes = bisect_releases(len(self._servers), results)
        try:
            index = next(probes)
            while True:
                results[index] = self._trials.decide(self._subject(index), rule)
                index = probes.send(results[index])
        except StopIteration as end:
            found: ReleaseRange = end.value
            return found

    def _subject(self, index: int) -> TrialSubject:
        server = self._servers[index]
        return TrialSubject(server.name, f"server {server.name}", lambda: self._conduct(server))

    def _examined(
        self, index: int, results: Mapping[int, Decision], given: Collection[int]
    ) -> ExaminedRelease:
        server = self._servers[index]
        rate: OccurrenceRate = self._trials.rate(server.name)
        return ExaminedRelease(
            server=server.name,
            vllm=server.vllm,
            decision=results.get(index),
            shown=rate.shown,
            runs=rate.runs,
            given=index in given,
        )

    def _names(self, found: ReleaseRange) -> ShowingReleases:
        names = [server.name for server in self._servers]
        return ShowingReleases(
            first=names[found.first],
            last=names[found.last],
            absent_before=None if found.absent_before is None else names[found.absent_before],
            absent_after=None if found.absent_after is None else names[found.absent_after],
            untested=[names[index] for index in found.untested],
        )
