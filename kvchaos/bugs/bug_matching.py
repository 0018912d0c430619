"""Which causes of a run are known bugs of its release, and which known bugs did not show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from history.expected_findings import Expectation, ExpectedBug
from history.metrics import parse_key
from history.verdict import BugResult, Cause, Finding, OracleResult, Subject
from oracles.causes import signature, without_kinds
from oracles.findings import oracle_of

Distinguish = Callable[[str, Sequence[Finding]], str]
"""Adds to a signature what distinguishes the cause of these findings."""


def by_bugs(
    results: Sequence[OracleResult],
    expectation: Expectation,
    causes: Sequence[Cause],
    distinguish: Distinguish,
) -> list[Cause]:
    """The causes with the known bugs that explain them.

    Findings of one rule on subjects of different bugs are different causes.
    """
    findings: dict[str, list[Finding]] = defaultdict(list)
    for finding in (finding for result in results for finding in result.findings):
        findings[finding.rule].append(finding)
    return [
        _marked(replace(part, signature=distinguish(part.signature, part_findings)), bugs, expectation)
        for cause in causes
        for part, part_findings, bugs in _parts(
            cause, findings[cause.rule], _covering(cause.rule, expectation)
        )
    ]


def bug_results(
    results: Sequence[OracleResult], expectation: Expectation, causes: Sequence[Cause]
) -> list[BugResult]:
    """One for each bug that the plan names, by causes that `by_bugs` has marked."""
    broken = {rule: count for result in results for rule, count in result.by_rule.items()}
    return [_result(bug, broken, causes) for bug in expectation.bugs]


def is_strange(cause: Cause, expectation: Expectation) -> bool:
    """Whether known bugs break its rule, and it is none of them by its signature and its subjects."""
    return bool(_covering(cause.rule, expectation)) and not cause.known_bugs


def is_about(patterns: Iterable[str], subject: Subject) -> bool:
    """Whether a pattern is that of the subject: its name, the name of its metric, or its kind."""
    names = {subject.name, subject.kind}
    if subject.kind == "metric":
        names.add(parse_key(subject.name)[0])
    return any(_regex(pattern).fullmatch(name) for pattern in patterns for name in names)


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def _parts(
    cause: Cause, findings: Sequence[Finding], covering: Sequence[ExpectedBug]
) -> Iterator[tuple[Cause, Sequence[Finding], list[ExpectedBug]]]:
    """A cause divided by the bugs that match the subjects of its findings, with these findings.

    Findings that are not stored, or that a fault explains, belong to the first part.
    """
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        if not finding.is_accounted:
            ids = tuple(bug.id for bug in covering if _may_be(bug, finding))
            groups[ids].append(finding)
    if cause.explained_by or not groups:
        yield cause, findings, list(covering)
        return
    others = cause.violations - sum(map(len, groups.values()))
    for number, (ids, group) in enumerate(groups.items()):
        bugs = [bug for bug in covering if bug.id in ids]
        if number == 0:
            yield replace(cause, violations=len(group) + max(others, 0)), group, bugs
        else:
            yield (
                replace(
                    cause, violations=len(group), signature=signature(group[0]), follow={}, inconclusive=[]
                ),
                group,
                bugs,
            )


def _may_be(bug: ExpectedBug, finding: Finding) -> bool:
    patterns = bug.subjects.get(finding.rule)
    return patterns is None or is_about(patterns, finding.subject)


def _marked(cause: Cause, bugs: Sequence[ExpectedBug], expectation: Expectation) -> Cause:
    """Marked with those of the bugs that it is by its signature, too."""
    marked = replace(cause, known_bugs=[bug.id for bug in bugs if _has_signature(bug, cause)])
    named = _covers((*expectation.fail, *expectation.collateral), cause.rule)
    # What a fault declares is explained, unless the findings are more than that.
    explained = bool(cause.explained_by or marked.known_bugs) or (
        named and not is_strange(marked, expectation)
    )
    return replace(marked, unexplained=not explained)


def _has_signature(bug: ExpectedBug, cause: Cause) -> bool:
    """Whether the cause has one of the bug's signatures of this rule, if there are any.

    The kinds of faults before wrong answers do not count.
    """
    mine = [without_kinds(text) for text in bug.signatures if text.partition(":")[0] == cause.rule]
    return not mine or without_kinds(cause.signature) in mine


def _result(bug: ExpectedBug, broken: Mapping[str, int], causes: Sequence[Cause]) -> BugResult:
    explains = {rule: count for rule, count in broken.items() if _covers(bug.rules, rule)}
    for cause in causes:
        if cause.rule in explains and bug.id not in cause.known_bugs:
            explains[cause.rule] -= cause.violations
    explains = {rule: count for rule, count in explains.items() if count > 0}
    return BugResult(
        id=bug.id,
        reference=bug.reference,
        title=bug.title,
        mechanism=bug.mechanism,
        link=bug.link,
        explains=explains,
        missing=[name for name in bug.always if not any(_covers((name,), rule) for rule in explains)],
    )


def _covering(rule: str, expectation: Expectation) -> list[ExpectedBug]:
    return [bug for bug in expectation.bugs if _covers(bug.rules, rule)]


def _covers(names: Iterable[str], rule: str) -> bool:
    """Whether one of these names is the rule, or its oracle."""
    return not {rule, oracle_of(rule)}.isdisjoint(names)
