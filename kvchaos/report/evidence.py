"""One finding as one line of text, the same in every report."""

from __future__ import annotations

from datetime import UTC, datetime

from history.finding import Finding
from history.verdict import Cause, OracleResult, RunVerdict

NS_PER_S = 1_000_000_000


def finding_text(finding: Finding) -> str:
    """The finding's sentence, its rule, and all that leads back to the evidence: request, metric, samples,
    log line."""
    parts: list[str] = [finding.rule]
    # The sentence often names the request or metric already.
    if finding.request is not None and finding.request not in finding.text:
        parts.append(f"request {finding.request}")
    if finding.metric is not None and finding.metric not in finding.text:
        parts.append(finding.metric)
    if finding.samples:
        parts.append(" -> ".join(f"{value:.12g} at {clock(t_ns)}" for t_ns, value in finding.samples))
    elif finding.t_ns is not None:
        parts.append(f"at {clock(finding.t_ns)}")
    if finding.log_line is not None:
        parts.append(f"server.log line {finding.log_line}")
    if finding.explained_by is not None:
        parts.append(f"explained by fault {finding.explained_by}")
    return f"{finding.text} [{'; '.join(parts)}]"


def evidence_lines(result: OracleResult, most: int | None = None) -> list[str]:
    """The summary where there is no violation, else the first findings and how many more there are."""
    if not result.findings:
        return [result.summary]
    shown = result.findings[:most]
    lines = [finding_text(finding) for finding in shown]
    more = result.violations - len(shown)
    return [*lines, f"and {more} more"] if more > 0 else lines


def cause_lines(verdict: RunVerdict) -> list[str]:
    """One for each cause: its signature, and what follows from it."""
    return [f"cause: {cause.signature}{_follow(cause)}" for cause in verdict.causes]


def _follow(cause: Cause) -> str:
    rules = ", ".join(f"{rule} ({count})" for rule, count in cause.follow.items())
    follow = f"; from it follow {rules}" if rules else ""
    if cause.explained_by:
        follow += f"; explained by fault {', '.join(cause.explained_by)}"
    return follow + (f"; inconclusive of it: {', '.join(cause.inconclusive)}" if cause.inconclusive else "")


def clock(t_ns: int) -> str:
    """Wall clock time in UTC to the millisecond."""
    moment = datetime.fromtimestamp(t_ns // NS_PER_S, UTC)
    return f"{moment:%H:%M:%S}.{t_ns % NS_PER_S // 1_000_000:03d}Z"
