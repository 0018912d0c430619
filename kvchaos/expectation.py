"""What a scenario expects of a server release, held against what the oracles say."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from history.evidence import EVIDENCE
from history.plan import Expectation
from history.reader import History
from history.verdict import OracleResult, Outcome, Verdict


class Standing(StrEnum):
    """How one oracle's word compares with the expectation."""

    EXPECTED = "as expected"
    NOT_EXPECTED = "not as expected"
    UNKNOWN = "unknown"
    IGNORED = "ignored"


def cut_short(history: History) -> str | None:
    """Why the run did not go to its end, None when it did."""
    for event in history.events_of("run_failed"):
        return f"the run failed: {event.data.get('reason')}"
    for event in history.events_of("interrupted"):
        return f"the run was interrupted by {event.data.get('signal')}"
    for change in history.changed:
        return f"{change}; judge the run directory as the run left it"
    if not any(event.data.get("where") == "final" for event in history.events_of("canary")):
        return "the run broke off: its conductor never came to the end"
    if history.plan.notes_evidence and not history.events_of(EVIDENCE):
        return "the run broke off: its conductor never noted how many lines its files have"
    return _unseen_phase(history)


def _unseen_phase(history: History) -> str | None:
    """A phase that the run must have passed and whose events are missing."""
    ends = {event.data.get("phase"): event.data.get("reason") for event in history.events_of("phase_end")}
    if any(reason != "done" for reason in ends.values()):
        return None  # The phases after it were given up, and the oracles know why.
    begun = {event.data.get("phase") for event in history.events_of("phase_start")}
    for phase in history.plan.scenario.phases:
        if phase.name not in begun or phase.name not in ends:
            return f"phase {phase.name}: its {'end' if phase.name in begun else 'begin'} is not in the events"
    return None


def standing(result: OracleResult, expectation: Expectation) -> Standing:
    """Compare one oracle's word with the expectation, strictly in both directions."""
    if result.oracle in expectation.collateral and result.oracle not in expectation.fail:
        return Standing.IGNORED
    wanted = Verdict.FAIL if result.oracle in expectation.fail else Verdict.PASS
    if result.verdict is Verdict.UNKNOWN:
        return Standing.UNKNOWN
    return Standing.EXPECTED if result.verdict is wanted else Standing.NOT_EXPECTED


def weigh(
    results: Sequence[OracleResult], expectation: Expectation, cut: str | None
) -> tuple[Outcome, list[str]]:
    """The outcome of a run and its reasons: not as expected > unknown > as expected.

    A run that was cut short, or whose client was the limit (`cut` says why), is unknown, whatever they say.
    """
    by_standing: dict[Standing, list[str]] = {kind: [] for kind in Standing}
    for result in results:
        by_standing[standing(result, expectation)].append(_reason(result, expectation))
    wrong, unknown = by_standing[Standing.NOT_EXPECTED], by_standing[Standing.UNKNOWN]
    unknown.extend(absent_oracles(results, expectation))
    if cut is not None:
        return "unknown", [cut, *wrong, *unknown]
    if wrong:
        return "not as expected", [*wrong, *unknown]
    if unknown:
        return "unknown", unknown
    expected = [_reason(result, expectation) for result in results if result.oracle in expectation.fail]
    return "as expected", expected


def absent_oracles(results: Sequence[OracleResult], expectation: Expectation) -> list[str]:
    """A line for each name that the expectation has and no oracle bears: a slip that must not pass."""
    judged = {result.oracle for result in results}
    named = (*expectation.fail, *expectation.collateral)
    return [
        f"the expectation names {name}, and there is no such oracle" for name in named if name not in judged
    ]


def _reason(result: OracleResult, expectation: Expectation) -> str:
    if result.oracle not in expectation.fail:
        return f"{result.oracle} says {result.verdict}: {result.summary}"
    if result.verdict is Verdict.FAIL:
        return f"{result.oracle} failed as expected ({expectation.issue}): {result.summary}"
    return f"{result.oracle} was to fail ({expectation.issue}) and says {result.verdict}: {result.summary}"
