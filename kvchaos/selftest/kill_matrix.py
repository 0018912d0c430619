"""Which oracles killed which mutants, and which reported a violation without a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from history.verdict import Finding, OracleResult, RunVerdict, Verdict
from kvchaos.report.markdown import markdown_table
from kvchaos.selftest.mutants.mutant import ExpectedKill, Mutant, Session
from oracles.laws.families import BOUND, family

HEADINGS = ("rule", "mutant", "what it does", "seen", "evidence")


@dataclass(frozen=True, slots=True)
class KillResult:
    """A rule and a mutant that must break it."""

    rule: str
    """Id of the rule; the name of the oracle where its verdict must be unknown."""
    mutant: str
    what: str
    killed: bool
    evidence: str
    """Text of the finding that kills the mutant; else the verdict of the oracle."""


@dataclass(frozen=True, slots=True)
class SessionScore:
    """The result of one session."""

    session: str
    rows: tuple[KillResult, ...]
    unexpected: tuple[str, ...]
    """A line for each violation or unknown that no mutant of the run was meant to bring."""

    @property
    def passed(self) -> bool:
        return not self.unexpected and all(row.killed for row in self.rows)


def score_session(session: Session, verdict: RunVerdict) -> SessionScore:
    """Compare the verdicts of a run with the expected kills of its mutants."""
    results = {result.oracle: result for result in verdict.results}
    kills = [kill for mutant in session.mutants for kill in mutant.kills]
    rows = tuple(
        _row(mutant, kill, results[kill.oracle]) for mutant in session.mutants for kill in mutant.kills
    )
    wrong = frozenset[str]().union(*(mutant.families for mutant in session.mutants))
    unexpected = (line for result in verdict.results for line in _unexpected(result, kills, wrong))
    return SessionScore(session.name, rows, tuple(f"{session.name}: {line}" for line in unexpected))


def _unexpected(result: OracleResult, kills: Sequence[ExpectedKill], wrong: Set[str]) -> Iterator[str]:
    """A line for what no mutant of the run was meant to bring, with the metric families that they make wrong.

    A law between two series can be broken by either.
    """
    mine = {kill.rule for kill in kills if kill.oracle == result.oracle}
    if result.verdict is Verdict.UNKNOWN and None not in mine:
        yield f"{result.oracle} is unknown: {result.summary}"
    binding = {rule for name in wrong for rule in BOUND.get(name, ())}
    for rule in sorted(result.by_rule.keys() - mine - binding):
        findings = [finding for finding in result.findings if finding.rule == rule]
        text = next((finding.text for finding in findings if _family_of(finding) not in wrong), None)
        if text is not None:
            yield f"{rule}: {text}"


def _family_of(finding: Finding) -> str | None:
    """The metric family that a finding is about."""
    return family(finding.subject.name.partition("{")[0]) if finding.subject.kind == "metric" else None


def _row(mutant: Mutant, kill: ExpectedKill, result: OracleResult) -> KillResult:
    evidence = _evidence(kill, result)
    instead = f"{result.verdict}: {result.summary}"
    return KillResult(
        kill.rule or kill.oracle, mutant.name, mutant.what, evidence is not None, evidence or instead
    )


def _evidence(kill: ExpectedKill, result: OracleResult) -> str | None:
    if kill.rule is None:
        return result.summary if result.verdict is Verdict.UNKNOWN else None
    return next((finding.text for finding in result.findings if _is_kill(finding, kill)), None)


def _is_kill(finding: Finding, kill: ExpectedKill) -> bool:
    return finding.rule == kill.rule and finding.subject.name.startswith(kill.subject)


def kill_matrix(scored: Sequence[SessionScore]) -> str:
    """All rows by oracle, as a table in Markdown, and a line for each unexpected finding."""
    rows = sorted((row for run in scored for row in run.rows), key=lambda row: (row.rule, row.mutant))
    cells = [
        (row.rule, row.mutant, row.what, "yes" if row.killed else "NO", row.evidence.replace("|", "\\|"))
        for row in rows
    ]
    lines = [f"- {line}\n" for run in scored for line in run.unexpected]
    return markdown_table(HEADINGS, cells) + ("\n" + "".join(lines) if lines else "")
