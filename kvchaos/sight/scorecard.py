"""Which oracles found which mutants, and which spoke up without a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from history.verdict import OracleResult, RunVerdict, Verdict
from kvchaos.report.markdown import markdown_table
from kvchaos.sight.mutants.mutant import Found, Mutant, Session

HEADINGS = ("oracle", "mutant", "what it does", "seen", "evidence")


@dataclass(frozen=True, slots=True)
class Row:
    """One oracle's word on one mutant that it must find."""

    oracle: str
    mutant: str
    what: str
    seen: bool
    evidence: str
    """The witness that names the mutant; else what the oracle said instead."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one run showed."""

    session: str
    rows: tuple[Row, ...]
    beside: tuple[str, ...]
    """A line for each oracle that did not pass though no mutant of the run was for it."""

    @property
    def holds(self) -> bool:
        return not self.beside and all(row.seen for row in self.rows)


def score(session: Session, verdict: RunVerdict) -> Scored:
    """Hold what the oracles said of a run against the mutants in it."""
    results = {result.oracle: result for result in verdict.results}
    rows = tuple(row for mutant in session.mutants for row in _rows(mutant, results))
    meant = {oracle for mutant in session.mutants for oracle in mutant.kills}
    beside = tuple(
        f"{session.name}: {result.oracle} says {result.verdict}: {result.summary}"
        for result in verdict.results
        if result.verdict is not Verdict.PASS and result.oracle not in meant
    )
    return Scored(session.name, rows, beside)


def _rows(mutant: Mutant, results: dict[str, OracleResult]) -> Iterator[Row]:
    for oracle, found in mutant.kills.items():
        evidence = _evidence(found, results[oracle])
        said = f"{results[oracle].verdict}: {results[oracle].summary}"
        yield Row(oracle, mutant.name, mutant.what, evidence is not None, evidence or said)


def _evidence(found: Found, result: OracleResult) -> str | None:
    if result.verdict is not found.verdict:
        return None
    told = [witness.text for witness in result.witnesses] or [result.summary]
    return next((text for text in told if re.search(found.words, text)), None)


def scorecard(scored: Sequence[Scored]) -> str:
    """All rows by oracle, as a table in Markdown, and the lines of what went wrong beside."""
    rows = sorted((row for run in scored for row in run.rows), key=lambda row: (row.oracle, row.mutant))
    cells = [
        (row.oracle, row.mutant, row.what, "yes" if row.seen else "NO", row.evidence.replace("|", "\\|"))
        for row in rows
    ]
    lines = [f"- {line}\n" for run in scored for line in run.beside]
    return markdown_table(HEADINGS, cells) + ("\n" + "".join(lines) if lines else "")
