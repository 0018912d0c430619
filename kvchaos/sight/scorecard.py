"""Which oracles found which mutants, and which spoke up without a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from history.finding import Finding
from history.verdict import OracleResult, RunVerdict, Verdict
from kvchaos.report.markdown import markdown_table
from kvchaos.sight.mutants.mutant import Kill, Mutant, Session
from oracles.laws.families import BOUND, family

HEADINGS = ("rule", "mutant", "what it does", "seen", "evidence")


@dataclass(frozen=True, slots=True)
class Row:
    """A rule and a mutant that must break it."""

    rule: str
    """Its id; the oracle's name where that must be unknown."""
    mutant: str
    what: str
    seen: bool
    evidence: str
    """The finding that shows the mutant; else what the oracle reported instead."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one run showed."""

    session: str
    rows: tuple[Row, ...]
    beside: tuple[str, ...]
    """A line for each violation or unknown that no mutant of the run was meant to bring."""

    @property
    def holds(self) -> bool:
        return not self.beside and all(row.seen for row in self.rows)


def score(session: Session, verdict: RunVerdict) -> Scored:
    """Hold what the oracles reported of a run against the mutants in it."""
    results = {result.oracle: result for result in verdict.results}
    kills = [kill for mutant in session.mutants for kill in mutant.kills]
    rows = tuple(
        _row(mutant, kill, results[kill.oracle]) for mutant in session.mutants for kill in mutant.kills
    )
    wrong = frozenset[str]().union(*(mutant.families for mutant in session.mutants))
    beside = (line for result in verdict.results for line in _unmeant(result, kills, wrong))
    return Scored(session.name, rows, tuple(f"{session.name}: {line}" for line in beside))


def _unmeant(result: OracleResult, kills: Sequence[Kill], wrong: Set[str]) -> Iterator[str]:
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


def _row(mutant: Mutant, kill: Kill, result: OracleResult) -> Row:
    evidence = _evidence(kill, result)
    instead = f"{result.verdict}: {result.summary}"
    return Row(kill.rule or kill.oracle, mutant.name, mutant.what, evidence is not None, evidence or instead)


def _evidence(kill: Kill, result: OracleResult) -> str | None:
    if kill.rule is None:
        return result.summary if result.verdict is Verdict.UNKNOWN else None
    return next((finding.text for finding in result.findings if _shows(finding, kill)), None)


def _shows(finding: Finding, kill: Kill) -> bool:
    return finding.rule == kill.rule and finding.subject.name.startswith(kill.subject)


def scorecard(scored: Sequence[Scored]) -> str:
    """All rows by oracle, as a table in Markdown, and the lines of what went wrong beside."""
    rows = sorted((row for run in scored for row in run.rows), key=lambda row: (row.rule, row.mutant))
    cells = [
        (row.rule, row.mutant, row.what, "yes" if row.seen else "NO", row.evidence.replace("|", "\\|"))
        for row in rows
    ]
    lines = [f"- {line}\n" for run in scored for line in run.beside]
    return markdown_table(HEADINGS, cells) + ("\n" + "".join(lines) if lines else "")
