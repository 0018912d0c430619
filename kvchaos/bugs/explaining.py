"""Which causes of a run are known bugs of its release, and which known bugs did not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from history.known_bug import ExpectedBug
from history.plan import Expectation
from history.verdict import BugResult, Cause, OracleResult
from oracles.rule import oracle_of


def explain_by_bugs(
    results: Sequence[OracleResult], expectation: Expectation, causes: Sequence[Cause]
) -> tuple[list[Cause], list[BugResult]]:
    """The causes with the bugs that they may be, and one result for each bug that the plan names."""
    broken = {rule: count for result in results for rule, count in result.by_rule.items()}
    marked = [_marked(cause, expectation) for cause in causes]
    strange = {cause.rule for cause in causes if is_strange(cause, expectation)}
    return marked, [_result(bug, broken, strange) for bug in expectation.bugs]


def is_strange(cause: Cause, expectation: Expectation) -> bool:
    """Whether known bugs break its rule, and each of them has other signatures than this cause."""
    covering = [bug for bug in expectation.bugs if _covers(bug.rules, cause.rule)]
    return bool(covering) and not any(_is(bug, cause) for bug in covering)


def _marked(cause: Cause, expectation: Expectation) -> Cause:
    bugs = [bug.id for bug in expectation.bugs if _covers(bug.rules, cause.rule) and _is(bug, cause)]
    named = _covers((*expectation.fail, *expectation.collateral), cause.rule)
    # What a fault declares is explained, unless the findings are more than that.
    explained = bool(cause.explained_by or bugs) or (named and not is_strange(cause, expectation))
    return replace(cause, known_bugs=bugs, unexplained=not explained)


def _is(bug: ExpectedBug, cause: Cause) -> bool:
    """By the signatures of the bug that are of this rule, if there are any."""
    mine = [text for text in bug.signatures if text.partition(":")[0] == cause.rule]
    return not mine or cause.signature in mine


def _result(bug: ExpectedBug, broken: Mapping[str, int], strange: Iterable[str]) -> BugResult:
    mine = {rule: count for rule, count in broken.items() if _covers(bug.rules, rule)}
    explains = {rule: count for rule, count in mine.items() if rule not in strange}
    return BugResult(
        id=bug.id,
        reference=bug.reference,
        title=bug.title,
        mechanism=bug.mechanism,
        link=bug.link,
        explains=explains,
        missing=[name for name in bug.always if not any(_covers((name,), rule) for rule in explains)],
    )


def _covers(names: Iterable[str], rule: str) -> bool:
    """Whether one of these names is the rule, or its oracle."""
    return not {rule, oracle_of(rule)}.isdisjoint(names)
