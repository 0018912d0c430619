"""One finding as one line of text, the same in every report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from history.finding import Finding
from history.verdict import BugResult, Cause, OracleResult, RunVerdict

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
    """One for each cause: its signature, what explains it and what follows from it; then one for each known
    bug that could show."""
    references = {bug.id: bug.reference for bug in verdict.bugs}
    causes = [
        f"cause: {cause.signature}{_explained(cause, references)}{_follow(cause)}" for cause in verdict.causes
    ]
    return causes + [bug_text(bug) for bug in verdict.bugs]


def _explained(cause: Cause, references: Mapping[str, str]) -> str:
    parts = []
    if cause.known_bugs:
        parts.append(f"; known bug {', '.join(references.get(name, name) for name in cause.known_bugs)}")
    if cause.explained_by:
        parts.append(f"; explained by fault {', '.join(cause.explained_by)}")
    return "".join(parts) or ("; not explained by a known bug or a fault" if cause.unexplained else "")


def _follow(cause: Cause) -> str:
    rules = ", ".join(f"{rule} ({count})" for rule, count in cause.follow.items())
    follow = f"; from it follow {rules}" if rules else ""
    return follow + (f"; inconclusive of it: {', '.join(cause.inconclusive)}" if cause.inconclusive else "")


def bug_text(bug: BugResult) -> str:
    """One line: the bug, its mechanism and link; or that it did not show."""
    name = f"known bug {bug.reference} ({bug.title})"
    if bug.missing:
        return f"{name} always breaks {', '.join(bug.missing)} here, and did not.{_link(bug)}"
    if not bug.explains:
        return f"{name} may show here by chance, and did not.{_link(bug)}"
    findings = ", ".join(f"{rule} ({count})" for rule, count in bug.explains.items())
    return f"{name} explains {findings}. {bug.mechanism}{_link(bug)}"


def _link(bug: BugResult) -> str:
    return f" See {bug.link}" if bug.link else ""


def clock(t_ns: int) -> str:
    """Wall clock time in UTC to the millisecond."""
    moment = datetime.fromtimestamp(t_ns // NS_PER_S, UTC)
    return f"{moment:%H:%M:%S}.{t_ns % NS_PER_S // 1_000_000:03d}Z"
