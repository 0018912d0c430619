"""Look-ups in an oracle's result: findings by their rule, gaps by their kind."""

from __future__ import annotations

from history.verdict import Finding, Gap, OracleResult, Verdict


def finding_of(result: OracleResult, rule: str, phase: str | None = None) -> Finding:
    """The first finding of a rule; of a phase, if one is named."""
    assert result.verdict is Verdict.FAIL, result.summary
    found = [one for one in result.findings if one.rule == rule and phase in (None, one.phase)]
    assert found, result.by_rule
    return found[0]


def gap_of(result: OracleResult, kind: str) -> Gap:
    """The first gap of a kind, of an oracle that found nothing else."""
    assert result.verdict is Verdict.UNKNOWN, result.summary
    found = [gap for gap in result.gaps if gap.kind == kind]
    assert found, result.gaps
    return found[0]


def gap_kinds(result: OracleResult) -> list[str]:
    """The kind of each gap, in order."""
    return [gap.kind for gap in result.gaps]


def phases_of(result: OracleResult) -> set[str | None]:
    """Where the findings are; None stands for the run."""
    return {finding.phase for finding in result.findings}
