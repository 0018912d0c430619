"""What judging says: one result an oracle, one outcome a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from history.finding import Finding


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
    """The first few of each rule; `violations` counts all."""
    violations: int = 0
    by_rule: dict[str, int] = {}
    """Violations of each rule that was broken, by its id."""
    checked: int = 0
    """How many things were looked at; 0 never passes."""


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
    causes: list[Cause] = []
    """What the violations come of."""
