"""Collects what an oracle saw and turns it into its result, so that all oracles rank alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from history.finding import Finding, Subject
from history.verdict import OracleResult, Verdict
from oracles.rule import Rule

MAX_FINDINGS = 5
"""Of each rule that a verdict keeps; the rest is only counted."""
MOST_KEPT = 100_000
"""Of each rule that are at hand while a run is judged. A fault explains none beyond them."""


@dataclass(slots=True)
class Findings:
    """What one oracle found so far: fail on a violation, else unknown on a gap or on nothing checked."""

    oracle: str
    checked: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    """By the id of the rule."""
    kept: list[Finding] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def violation(
        self,
        rule: Rule,
        subject: Subject,
        text: str,
        *,
        samples: Iterable[tuple[int, float]] = (),
        t_ns: int | None = None,
        example: str | None = None,
    ) -> None:
        """Note that a rule was broken. Of the samples those are kept that JSON has a number for; the text has
        the others."""
        self.violations[rule.id] += 1
        if self.violations[rule.id] <= MOST_KEPT:
            finite = [sample for sample in samples if math.isfinite(sample[1])]
            finding = Finding(
                rule=rule.id, subject=subject, text=text, samples=finite, t_ns=t_ns, example=example
            )
            self.kept.append(finding)

    def gap(self, reason: str) -> None:
        """Note something that could not be judged; the oracle cannot pass any more."""
        self.gaps.append(reason)

    def result(self, passed: str) -> OracleResult:
        """The oracle's result; `passed` is its summary should it pass."""
        return OracleResult(
            oracle=self.oracle,
            verdict=self._verdict(),
            summary=self._summary(passed),
            findings=list(self.kept),
            violations=self.violations.total(),
            by_rule=dict(self.violations),
            checked=self.checked,
        )

    def _verdict(self) -> Verdict:
        if self.violations:
            return Verdict.FAIL
        if self.gaps or not self.checked:
            return Verdict.UNKNOWN
        return Verdict.PASS

    def _summary(self, passed: str) -> str:
        if self.violations:
            others = self.violations.total() - 1
            return f"{self.kept[0].text}{f' (and {others} more)' if others else ''}"
        if self.gaps:
            return "; ".join(self.gaps)
        if not self.checked:
            return "nothing to check"
        return passed


def shortened(findings: Sequence[Finding]) -> list[Finding]:
    """The first few of each rule, those first that come of no fault and no other finding."""
    counts: Counter[str] = Counter()
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: finding.is_accounted):
        counts[finding.rule] += 1
        if counts[finding.rule] <= MAX_FINDINGS:
            kept.append(finding)
    return kept
