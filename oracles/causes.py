"""Which findings follow from another. When a server dies, much else fails of it: that is one cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from history.finding import Finding
from history.reader import History
from history.verdict import Cause, OracleResult, Verdict
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    counters,
    drained,
    faults,
    ledger,
    logs,
    offload,
    outcomes,
    progress,
    resources,
    witnesses,
)
from oracles.rule import Rule
from oracles.signatures import first_raised, signature

NEVER_ENDED = tuple(ledger.NEVER_ENDED.values())


@dataclass(frozen=True, slots=True)
class Follows:
    """What a violation of a rule brings with it."""

    rule: Rule
    rules: tuple[Rule, ...]
    """Those that break of it."""
    oracles: tuple[str, ...] = ()
    """Those that may be inconclusive of it."""


CLIENT_GAVE_UP = (progress.DEADLINE, outcomes.FAILED, outcomes.TRUNCATED)
HELD = (*drained.RULES, *NEVER_ENDED)
STALLS = (progress.DEADLOCK, progress.LIVELOCK, progress.STALL)
FOLLOWS = (
    Follows(
        alive.DIED,
        (
            alive.UNANSWERED,
            alive.FALSE_HEALTHY,
            counters.DECREMENT,
            outcomes.FAILED,
            outcomes.TRUNCATED,
            *logs.RULES,
            *progress.RULES,
            *HELD,
        ),
        (
            progress.NAME,
            accounting.NAME,
            witnesses.NAME,
            answers.NAME,
            drained.NAME,
            resources.NAME,
            ledger.NAME,
            faults.NAME,
            blast.NAME,
            offload.NAME,
        ),
    ),
    *(Follows(rule, (*CLIENT_GAVE_UP, *HELD)) for rule in STALLS),
    Follows(progress.DEADLINE, (*CLIENT_GAVE_UP, *HELD)),
)
"""The first that is broken takes what follows from it; a cause is what none of the others brings."""


def causes(history: History, results: Sequence[OracleResult]) -> list[Cause]:
    """One for each broken rule that follows from no other, those above first."""
    broken = {rule: count for result in results for rule, count in result.by_rule.items()}
    unknown = [result.oracle for result in results if result.verdict is Verdict.UNKNOWN]
    found: list[Cause] = []
    for follows in FOLLOWS:
        if follows.rule.id not in broken:
            continue
        rules = _taken(broken, (rule.id for rule in follows.rules if rule != follows.rule))
        stopped = [name for name in unknown if name in follows.oracles]
        unknown = [name for name in unknown if name not in stopped]
        found.append(_cause(history, results, follows.rule.id, broken.pop(follows.rule.id), rules, stopped))
    found += [_cause(history, results, rule, count, {}, []) for rule, count in broken.items()]
    return found


def _taken(broken: dict[str, int], rules: Iterable[str]) -> dict[str, int]:
    """Those of the rules that are broken; they are broken no more."""
    return {rule: broken.pop(rule) for rule in rules if rule in broken}


def _cause(
    history: History,
    results: Sequence[OracleResult],
    rule: str,
    count: int,
    rules: dict[str, int],
    stopped: list[str],
) -> Cause:
    findings = [finding for result in results for finding in result.findings]
    first = next(finding for finding in findings if finding.rule == rule)
    line = _first_line(findings, {rule, *rules})
    raised = None if line is None else first_raised(history, line)
    return Cause(
        rule=rule,
        signature=signature(first, raised),
        violations=count,
        follow=rules,
        inconclusive=stopped,
    )


def _first_line(findings: Sequence[Finding], rules: set[str]) -> int | None:
    """Of the log, of which one of these rules tells."""
    lines = (finding.log_line for finding in findings if finding.rule in rules)
    return min((line for line in lines if line is not None), default=None)
