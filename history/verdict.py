"""What judging says: one result an oracle, one outcome a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from history.finding import Figures, Finding, Gap
from history.seals import Sealed


class Verdict(StrEnum):
    """fail > unknown > pass. No data, no metric, an oracle that crashed: unknown, never pass."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"


class OracleResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One oracle's word on one run."""

    oracle: str
    verdict: Verdict
    summary: str
    """One line: what was checked and how much of it, or what is wrong."""
    findings: list[Finding] = []
    """The first few of each rule, those first that come of no fault and no other finding;
    `violations` counts all."""
    violations: int = 0
    by_rule: dict[str, int] = {}
    """Violations of each rule that was broken, by its id."""
    checked: int = 0
    """How many things were looked at; 0 never passes."""
    explained: dict[str, int] = {}
    """Of `by_rule`: violations that are the declared effect of a fault and follow from no other finding."""
    missing: list[str] = []
    """Rules that a fault was declared to break, and that hold although it fired."""
    figures: Figures = {}
    """The numbers in the summary of a pass, by name."""
    gaps: list[Gap] = []
    """What could not be judged, whatever the verdict."""


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broken rule that follows from no other finding of the run."""

    rule: str
    signature: str
    """The same for the same bug, across seeds, scenarios and machines."""
    violations: int
    follow: dict[str, int] = {}
    """Rules that were broken because of it, and how often."""
    inconclusive: list[str] = []
    """Oracles that could not judge because of it."""
    explained_by: list[str] = []
    """Ids of the faults that explain all of its violations; empty where any is left."""
    known_bugs: list[str] = []
    """Ids of the known bugs that it may be."""
    unexplained: bool = False
    """No fault, no known bug and no expectation explains it."""


class FaultEffect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a fault that fired was declared to bring, and what came of it."""

    fault: str
    """Its id."""
    kind: str
    rules: list[str]
    """Each of them could come of it."""
    least: int
    """Findings that had to come."""
    explains: dict[str, int] = {}
    """Violations that it explains, by rule."""
    judged: bool = True
    """False where an oracle that would have to see it could not judge, or was not asked to."""

    @property
    def missing(self) -> bool:
        return self.judged and sum(self.explains.values()) < self.least


class BugResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A known bug of the release that could show in the run, and what came of it."""

    id: str
    reference: str
    """How people name it, such as `vllm#36533`."""
    title: str
    mechanism: str
    link: str | None = None
    explains: dict[str, int] = {}
    """Violations of its rules; empty: it did not show."""
    missing: list[str] = []
    """Rules that it always breaks, and that hold."""


Outcome = Literal["as expected", "not as expected", "unknown"]


class RunVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of verdict.json."""

    v: Literal[2] = 2
    run_id: str
    scenario: str
    server: str
    seed: int
    outcome: Outcome
    reasons: list[str]
    """Why the outcome is what it is, one line each; for "as expected" the expected failures that came."""
    expected_failures: list[str]
    issue: str | None
    results: list[OracleResult]
    cut: Gap | None = None
    """Why the run as a whole cannot be judged: it was cut short, or the client was the limit. None when it
    can."""
    causes: list[Cause] = []
    """What the violations come of."""
    effects: list[FaultEffect] = []
    """What faults that fired were declared to bring."""
    bugs: list[BugResult] = []
    """The known bugs of the release that could show. None in runs of earlier versions."""
    seal: Sealed = "unsealed"
    """Whether the files are those that the run sealed at its end."""
