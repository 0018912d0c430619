"""Collects what an oracle saw and turns it into its result, so that all oracles rank alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from history.verdict import OracleResult, Verdict, Witness

MAX_WITNESSES = 5
"""Witnesses kept; the rest is only counted."""


def finite(samples: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The samples that JSON has a number for; a witness's text tells the others."""
    return [sample for sample in samples if math.isfinite(sample[1])]


@dataclass(slots=True)
class Findings:
    """What one oracle found so far: fail on a violation, else unknown on a gap or on nothing checked."""

    oracle: str
    checked: int = 0
    violations: int = 0
    witnesses: list[Witness] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def violation(self, witness: Witness) -> None:
        self.violations += 1
        if len(self.witnesses) < MAX_WITNESSES:
            self.witnesses.append(witness)

    def gap(self, reason: str) -> None:
        """Note something that could not be judged; the oracle cannot pass any more."""
        self.gaps.append(reason)

    def result(self, passed: str) -> OracleResult:
        """The oracle's word; `passed` is its summary should it pass."""
        return OracleResult(
            oracle=self.oracle,
            verdict=self._verdict(),
            summary=self._summary(passed),
            witnesses=list(self.witnesses),
            violations=self.violations,
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
            more = f" (and {self.violations - 1} more)" if self.violations > 1 else ""
            return f"{self.witnesses[0].text}{more}"
        if self.gaps:
            return "; ".join(self.gaps)
        if not self.checked:
            return "nothing to check"
        return passed
