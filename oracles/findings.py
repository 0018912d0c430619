"""What every oracle is made of: the rules that it judges by, what they read, and what it found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from history.reader import History
from history.verdict import SERVER, Finding, Gap, OracleResult, Subject, Verdict, finite

Source = Literal[
    "arithmetic",
    "HTTP and the OpenAI API",
    "operating system",
    "plug-in contract",
    "Prometheus",
    "scenario",
    "vLLM documentation",
    "vLLM source",
]
"""Where a law comes from."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One law. Declared in the file of its oracle."""

    id: str
    """ORACLE/NAME."""
    law: str
    """One sentence that holds for a server without a bug."""
    source: Source
    reads: tuple[str, ...]
    """Names of what a history holds, above."""
    inconclusive: str = "never"
    """When it cannot be judged."""

    @property
    def oracle(self) -> str:
        """Name of the oracle that judges by this rule: the part of the id before the slash."""
        return oracle_of(self.id)


def oracle_of(rule: str) -> str:
    """The oracle of a rule's id, or of an oracle's name."""
    return rule.partition("/")[0]


REQUESTS = "requests"
METRICS = "metrics"
PROMETHEUS = "scrapes of Prometheus"
EVENTS = "events"
FAULTS = "fault journal"
LEDGER = "ledger"
PROVENANCE = "provenance log"
LOG = "server's log"
CLIENT = "client"
RESOURCES = "resources"
GPU = "GPU samples"


MAX_FINDINGS = 5
"""Most findings of each rule that a verdict keeps; the others are only counted."""
MOST_KEPT = 100_000
"""Most findings of each rule that are kept during judging. A fault explains none beyond them."""


@dataclass(slots=True)
class Findings:
    """What one oracle found so far: fail on a violation, else unknown on a gap or on nothing checked."""

    oracle: str
    checked: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    """Number of violations by the id of the rule."""
    kept: list[Finding] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def violation(
        self,
        rule: Rule,
        subject: Subject,
        text: str,
        *,
        figures: Mapping[str, int | float] | None = None,
        phase: str | None = None,
        samples: Iterable[tuple[int, float]] = (),
        t_ns: int | None = None,
        example: str | None = None,
    ) -> None:
        """Note that a rule was broken.

        Figures and samples without a JSON number, such as NaN, are in the text alone.
        """
        self.violations[rule.id] += 1
        if self.violations[rule.id] <= MOST_KEPT:
            finding = Finding(
                rule=rule.id,
                subject=subject,
                text=text,
                phase=phase,
                figures=finite(figures or {}),
                samples=[sample for sample in samples if math.isfinite(sample[1])],
                t_ns=t_ns,
                example=example,
            )
            self.kept.append(finding)

    def gap(
        self,
        kind: str,
        text: str,
        subject: Subject = SERVER,
        *,
        figures: Mapping[str, int | float] | None = None,
    ) -> None:
        """Note something that could not be judged, so the oracle cannot pass.

        The kind is a short name of the oracle's own.
        """
        name = f"{self.oracle}/{kind}"
        self.gaps.append(Gap(kind=name, subject=subject, text=text, figures=finite(figures or {})))

    def result(self, passed: str, **figures: int | float) -> OracleResult:
        """The oracle's result; `passed` is its summary should it pass, and these are the figures in it."""
        return OracleResult(
            oracle=self.oracle,
            verdict=self._verdict(),
            summary=self._summary(passed),
            findings=list(self.kept),
            violations=self.violations.total(),
            by_rule=dict(self.violations),
            checked=self.checked,
            figures=finite(figures),
            gaps=list(self.gaps),
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
            return "; ".join(gap.text for gap in self.gaps)
        if not self.checked:
            return "there was nothing to check"
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


@dataclass(frozen=True, slots=True)
class Alteration:
    """One change of a green run's history, and the rule that it breaks."""

    rule: Rule
    what: str
    alter: Callable[[History], History]
    """A new history; the old one is not changed."""
    since: tuple[int, int] = (0, 0)
    """The first release of vLLM that shows what the rule needs."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """A judge: its name in scenarios and verdicts, its subject, and what it reads of a history.

    What it cannot do without comes first in `reads`.
    """

    name: str
    purpose: str
    reads: tuple[str, ...]
    judge: Callable[[History], OracleResult]
    rules: tuple[Rule, ...] = ()
    """What it judges by. Without any it never fails: it says whether the others can be believed."""
    alterations: tuple[Alteration, ...] = ()
    """Changes of a passing run that its rules must report, for the self-test."""
