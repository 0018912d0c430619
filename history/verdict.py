"""What judging says: one result an oracle, one outcome a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Verdict(StrEnum):
    """fail > unknown > pass. No data, no metric, an oracle that crashed: unknown, never pass."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"


class Witness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The smallest piece of the history that shows a violation."""

    text: str
    """One sentence with the figures in it."""
    request: str | None = None
    """Request id."""
    metric: str | None = None
    samples: list[tuple[int, float]] = []
    """(wall clock ns, value), usually two."""
    log_line: int | None = None
    """Line number in server.log, from 1."""
    t_ns: int | None = None


class OracleResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One oracle's word on one run."""

    oracle: str
    verdict: Verdict
    summary: str
    """One line: what was checked and how much of it, or what is wrong."""
    witnesses: list[Witness] = []
    """The first few violations; `violations` counts all."""
    violations: int = 0
    checked: int = 0
    """How many things were looked at; 0 never passes."""


Outcome = Literal["as expected", "not as expected", "unknown"]


class RunVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of verdict.json."""

    v: Literal[1] = 1
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
