"""The outcome of a run, as expected, not as expected or unknown, and the reasons for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from history.expected_findings import Expectation
from history.verdict import Cause, FaultEffect, Gap, OracleResult, Outcome, Verdict
from kvchaos.bugs.bug_matching import is_strange
from oracles import all_rules, faults_fired
from oracles.findings import oracle_of


class ExpectationMatch(StrEnum):
    """How one oracle's result compares with the expectation."""

    EXPECTED = "as expected"
    NOT_EXPECTED = "not as expected"
    UNKNOWN = "unknown"
    EXPLAINED = "explained by a fault"
    FOLLOWS = "follows from another finding"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class OracleExpectation:
    """What an expectation requires and allows of one oracle."""

    must: bool
    """It must find a violation."""
    rules: frozenset[str]
    """Rules that must be violated; empty: any rule."""
    may: frozenset[str]
    """These rules may be broken, too."""
    ignored: bool
    """Nothing of it counts."""


def expected_oracles(expectation: Expectation) -> list[str]:
    """The oracles that must find a violation, in order."""
    return list(dict.fromkeys(oracle_of(name) for name in expectation.fail))


def match_expectation(
    result: OracleResult, expectation: Expectation, causes: Sequence[Cause]
) -> ExpectationMatch:
    """Compare one oracle's result with the expectation, strictly in both directions."""
    expected = _oracle_expectation(result.oracle, expectation)
    if expected.ignored and not expected.must:
        return ExpectationMatch.IGNORED
    if result.missing:
        return ExpectationMatch.NOT_EXPECTED
    if result.verdict is Verdict.UNKNOWN:
        follows = not expected.must and any(result.oracle in cause.inconclusive for cause in causes)
        return ExpectationMatch.FOLLOWS if follows else ExpectationMatch.UNKNOWN
    if expected.must:
        came = result.verdict is Verdict.FAIL and expected.rules <= result.by_rule.keys()
        others = unexpected(result, expectation, causes)
        return ExpectationMatch.EXPECTED if came and not others else ExpectationMatch.NOT_EXPECTED
    if result.verdict is Verdict.PASS:
        return ExpectationMatch.EXPECTED
    if not result.by_rule or unexpected(result, expectation, causes):
        return ExpectationMatch.NOT_EXPECTED
    if result.explained:
        return ExpectationMatch.EXPLAINED
    return ExpectationMatch.IGNORED if expected.may & result.by_rule.keys() else ExpectationMatch.FOLLOWS


def unexpected(result: OracleResult, expectation: Expectation, causes: Sequence[Cause]) -> set[str]:
    """The broken rules of one oracle that nothing explains.

    No expectation, no fault and no other finding accounts for them, or their cause has another signature or
    other subjects than the known bugs.
    """
    expected = _oracle_expectation(result.oracle, expectation)
    left = {rule for rule, count in unaccounted(result, causes).items() if count > 0}
    strange = {cause.rule for cause in causes if is_strange(cause, expectation)}
    if expected.ignored or (expected.must and not expected.rules):
        return left & strange
    return left - ((expected.rules | expected.may) - strange)


def unaccounted(result: OracleResult, causes: Sequence[Cause]) -> Counter[str]:
    """How many violations of each rule come of no fault and no other finding."""
    left = Counter(result.by_rule)
    for account in (result.explained, *(cause.follow for cause in causes)):
        left.subtract({rule: count for rule, count in account.items() if rule in left})
    return left


def _oracle_expectation(oracle: str, expectation: Expectation) -> OracleExpectation:
    prefix = f"{oracle}/"
    rules = frozenset(name for name in expectation.fail if name.startswith(prefix))
    return OracleExpectation(
        must=bool(rules) or oracle in expectation.fail,
        rules=rules,
        may=frozenset(name for name in expectation.collateral if name.startswith(prefix)),
        ignored=oracle in expectation.collateral,
    )


def evaluate(
    results: Sequence[OracleResult],
    expectation: Expectation,
    cut: Gap | None,
    causes: Sequence[Cause],
    effects: Sequence[FaultEffect] = (),
) -> tuple[Outcome, list[str]]:
    """The outcome of a run and its reasons: not as expected > unknown > as expected.

    A run that was cut short, or whose load generator was too slow, is unknown, whatever its oracles found;
    `cut` says why.
    """
    by_match: dict[ExpectationMatch, list[str]] = {kind: [] for kind in ExpectationMatch}
    faults_proved = _faults_proved(results)
    for result in results:
        match = match_expectation(result, expectation, causes)
        if match is ExpectationMatch.NOT_EXPECTED and not faults_proved:
            match = _without_proved_faults(result, expectation, causes)
        by_match[match] += _reasons(result, expectation, causes)
    wrong, unknown = by_match[ExpectationMatch.NOT_EXPECTED], by_match[ExpectationMatch.UNKNOWN]
    wrong.extend(effect_text(effect) for effect in effects if effect.missing)
    unknown.extend(absent_names(results, expectation))
    if cut is not None:
        return "unknown", [cut.text, *wrong, *unknown]
    if wrong:
        return "not as expected", [*wrong, *unknown]
    if unknown:
        return "unknown", unknown
    must = expected_oracles(expectation)
    came = [
        line for result in results if result.oracle in must for line in _reasons(result, expectation, causes)
    ]
    return "as expected", [*came, *(effect_text(effect) for effect in effects if effect.explains)]


def _faults_proved(results: Sequence[OracleResult]) -> bool:
    """Whether no fault of the run is in doubt."""
    return not any(
        result.oracle == faults_fired.NAME and result.verdict is Verdict.UNKNOWN for result in results
    )


def _without_proved_faults(
    result: OracleResult, expectation: Expectation, causes: Sequence[Cause]
) -> ExpectationMatch:
    """What an unexpected result is when a fault of the run is in doubt.

    A violation that should have come and did not is unknown then: the fault may be what brings it.
    """
    expected = _oracle_expectation(result.oracle, expectation)
    only_absent = expected.must and not result.missing and not unexpected(result, expectation, causes)
    return ExpectationMatch.UNKNOWN if only_absent else ExpectationMatch.NOT_EXPECTED


def effect_text(effect: FaultEffect) -> str:
    """One line: which findings the fault explains, or which are missing."""
    if effect.missing:
        rules = " or ".join(effect.rules)
        found = sum(effect.explains.values())
        return (
            f"fault {effect.fault} ({effect.kind}) fired and must cause at least {effect.least} findings of "
            f"{rules}, but caused {found}"
        )
    findings = " and ".join(
        f"{count} finding{'s' * (count > 1)} of {rule}" for rule, count in effect.explains.items()
    )
    return f"fault {effect.fault} ({effect.kind}) explains {findings}"


def absent_names(results: Sequence[OracleResult], expectation: Expectation) -> list[str]:
    """A line for each name in the expectation that no oracle and no rule has: a slip that must not pass."""
    judged = {result.oracle for result in results}
    rules = {rule.id for rule in all_rules() if rule.oracle in judged}
    expected = (*expectation.fail, *expectation.collateral)
    return [
        f"the expectation names {name}, but there is no such {'rule' if '/' in name else 'oracle'}"
        for name in expected
        if name not in judged | rules
    ]


def _reasons(result: OracleResult, expectation: Expectation, causes: Sequence[Cause]) -> Iterator[str]:
    """Lines on one result; each rule that was broken and was not expected to be has one."""
    left, wrong = unaccounted(result, causes), unexpected(result, expectation, causes)
    if result.oracle not in expected_oracles(expectation):
        yield from _unexpected_reasons(result, left, wrong)
        return
    missing = _oracle_expectation(result.oracle, expectation).rules - result.by_rule.keys()
    if result.verdict is Verdict.FAIL and not missing:
        yield f"{result.oracle} failed as expected ({expectation.issue}): {result.summary}"
    else:
        what = ", ".join(sorted(missing)) or result.oracle
        reports = "it reports" if what == result.oracle else f"{result.oracle} reports"
        yield f"{what} must fail ({expectation.issue}), but {reports} {result.verdict}: {result.summary}"
    yield from _rule_reasons(result, left, wrong)


def _unexpected_reasons(result: OracleResult, left: Mapping[str, int], wrong: set[str]) -> Iterator[str]:
    """Lines on an oracle that should have had no finding.

    Where its summary is about an explained finding, each rule gets a line of its own.
    """
    if result.missing or left != Counter(result.by_rule):
        yield from _rule_reasons(result, left, wrong, too="")
        return
    yield f"{result.oracle} reports {result.verdict}: {result.summary}"
    yield from _rule_reasons(result, left, wrong - {finding.rule for finding in result.findings[:1]})


def _text(result: OracleResult, rule: str) -> str:
    """Text of a finding of the rule, if possible of one that no fault and no other finding explains."""
    findings = (finding for finding in result.findings if finding.rule == rule)
    return min(findings, key=lambda finding: finding.is_accounted).text


def _rule_reasons(
    result: OracleResult, left: Mapping[str, int], rules: Iterable[str], too: str = ", too"
) -> Iterator[str]:
    """A line for each rule that was broken and was not expected to be, or not so often."""
    for rule in sorted(rules):
        text = _text(result, rule)
        if left[rule] < result.by_rule[rule]:
            unexplained = f"{left[rule]} of {result.by_rule[rule]} findings of {rule}"
            yield f"no fault and no other finding explains {unexplained}: {text}"
        else:
            yield f"{rule} is broken{too}: {text}"
