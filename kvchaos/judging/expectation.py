"""What a scenario expects of a server release, compared with what the oracles found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from history.finding import Gap
from history.plan import Expectation
from history.verdict import Cause, FaultEffect, OracleResult, Outcome, Verdict
from kvchaos.bugs.explaining import is_strange
from oracles import all_rules
from oracles.rule import oracle_of


class Standing(StrEnum):
    """How one oracle's result compares with the expectation."""

    EXPECTED = "as expected"
    NOT_EXPECTED = "not as expected"
    UNKNOWN = "unknown"
    EXPLAINED = "explained by a fault"
    FOLLOWS = "follows from another finding"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Named:
    """What an expectation says of one oracle."""

    must: bool
    """It must find a violation."""
    rules: frozenset[str]
    """Of these; empty: of any."""
    may: frozenset[str]
    """These rules may be broken, too."""
    ignored: bool
    """Nothing of it counts."""


def expected_oracles(expectation: Expectation) -> list[str]:
    """Those that must find a violation, in order."""
    return list(dict.fromkeys(oracle_of(name) for name in expectation.fail))


def standing(result: OracleResult, expectation: Expectation, causes: Sequence[Cause]) -> Standing:
    """Compare one oracle's result with the expectation, strictly in both directions."""
    named = _named(result.oracle, expectation)
    if named.ignored and not named.must:
        return Standing.IGNORED
    if result.missing:
        return Standing.NOT_EXPECTED
    if result.verdict is Verdict.UNKNOWN:
        follows = not named.must and any(result.oracle in cause.inconclusive for cause in causes)
        return Standing.FOLLOWS if follows else Standing.UNKNOWN
    if named.must:
        came = result.verdict is Verdict.FAIL and named.rules <= result.by_rule.keys()
        others = unexpected(result, expectation, causes)
        return Standing.EXPECTED if came and not others else Standing.NOT_EXPECTED
    if result.verdict is Verdict.PASS:
        return Standing.EXPECTED
    if not result.by_rule or unexpected(result, expectation, causes):
        return Standing.NOT_EXPECTED
    if result.explained:
        return Standing.EXPLAINED
    return Standing.IGNORED if named.may & result.by_rule.keys() else Standing.FOLLOWS


def unexpected(result: OracleResult, expectation: Expectation, causes: Sequence[Cause]) -> set[str]:
    """The rules that were broken, are not expected to be, and come of no fault and no other finding; and
    those of a cause that has another signature or other subjects than the known bugs."""
    named = _named(result.oracle, expectation)
    left = {rule for rule, count in unaccounted(result, causes).items() if count > 0}
    strange = {cause.rule for cause in causes if is_strange(cause, expectation)}
    if named.ignored or (named.must and not named.rules):
        return left & strange
    return left - ((named.rules | named.may) - strange)


def unaccounted(result: OracleResult, causes: Sequence[Cause]) -> Counter[str]:
    """How many violations of each rule come of no fault and no other finding."""
    left = Counter(result.by_rule)
    for account in (result.explained, *(cause.follow for cause in causes)):
        left.subtract({rule: count for rule, count in account.items() if rule in left})
    return left


def _named(oracle: str, expectation: Expectation) -> Named:
    prefix = f"{oracle}/"
    rules = frozenset(name for name in expectation.fail if name.startswith(prefix))
    return Named(
        must=bool(rules) or oracle in expectation.fail,
        rules=rules,
        may=frozenset(name for name in expectation.collateral if name.startswith(prefix)),
        ignored=oracle in expectation.collateral,
    )


def weigh(
    results: Sequence[OracleResult],
    expectation: Expectation,
    cut: Gap | None,
    causes: Sequence[Cause],
    effects: Sequence[FaultEffect] = (),
) -> tuple[Outcome, list[str]]:
    """The outcome of a run and its reasons: not as expected > unknown > as expected.

    A run that was cut short, or whose client was the limit (`cut` says why), is unknown, whatever they found.
    """
    by_standing: dict[Standing, list[str]] = {kind: [] for kind in Standing}
    for result in results:
        stands = standing(result, expectation, causes)
        by_standing[stands] += _reasons(result, expectation, causes)
    wrong, unknown = by_standing[Standing.NOT_EXPECTED], by_standing[Standing.UNKNOWN]
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


def effect_text(effect: FaultEffect) -> str:
    """One line: which findings the fault explains, or which are missing."""
    if effect.missing:
        rules = " or ".join(effect.rules)
        found = sum(effect.explains.values())
        return (
            f"fault {effect.fault} ({effect.kind}) fired, and {rules} had to break because of it: "
            f"{found} of at least {effect.least} findings came"
        )
    findings = "; ".join(
        f"{rule}, {count} finding{'s' * (count > 1)}" for rule, count in effect.explains.items()
    )
    return f"explained by fault {effect.fault} ({effect.kind}): {findings}"


def absent_names(results: Sequence[OracleResult], expectation: Expectation) -> list[str]:
    """A line for each name in the expectation that no oracle and no rule has: a slip that must not pass."""
    judged = {result.oracle for result in results}
    rules = {rule.id for rule in all_rules() if rule.oracle in judged}
    named = (*expectation.fail, *expectation.collateral)
    return [
        f"the expectation names {name}, and there is no such {'rule' if '/' in name else 'oracle'}"
        for name in named
        if name not in judged | rules
    ]


def _reasons(result: OracleResult, expectation: Expectation, causes: Sequence[Cause]) -> Iterator[str]:
    """Lines on one result; each rule that was broken and was not expected to be has one."""
    left, wrong = unaccounted(result, causes), unexpected(result, expectation, causes)
    if result.oracle not in expected_oracles(expectation):
        yield from _unexpected_reasons(result, left, wrong)
        return
    missing = _named(result.oracle, expectation).rules - result.by_rule.keys()
    if result.verdict is Verdict.FAIL and not missing:
        yield f"{result.oracle} failed as expected ({expectation.issue}): {result.summary}"
    else:
        what = ", ".join(sorted(missing)) or result.oracle
        says = "says" if what == result.oracle else f"{result.oracle} says"
        yield f"{what} was to fail ({expectation.issue}) and {says} {result.verdict}: {result.summary}"
    yield from _rule_reasons(result, left, wrong)


def _unexpected_reasons(result: OracleResult, left: Mapping[str, int], wrong: set[str]) -> Iterator[str]:
    """Lines on an oracle that was to find nothing. Its summary may tell of a finding that is accounted for;
    then each rule speaks for itself."""
    if result.missing or left != Counter(result.by_rule):
        yield from _rule_reasons(result, left, wrong, too="")
        return
    yield f"{result.oracle} says {result.verdict}: {result.summary}"
    yield from _rule_reasons(result, left, wrong - {finding.rule for finding in result.findings[:1]})


def _text(result: OracleResult, rule: str) -> str:
    """Of a finding of the rule, if possible of one that comes of no fault and no other finding."""
    findings = (finding for finding in result.findings if finding.rule == rule)
    return min(findings, key=lambda finding: finding.is_accounted).text


def _rule_reasons(
    result: OracleResult, left: Mapping[str, int], rules: Iterable[str], too: str = ", too"
) -> Iterator[str]:
    """A line for each rule that was broken and was not expected to be, or not so often."""
    for rule in sorted(rules):
        text = _text(result, rule)
        if left[rule] < result.by_rule[rule]:
            come = f"{left[rule]} of {result.by_rule[rule]} findings of {rule}"
            yield f"{come} come of no fault and no other finding: {text}"
        else:
            yield f"{rule} is broken{too}: {text}"
