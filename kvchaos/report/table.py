"""Verdicts as tables on the terminal. A symbol and a word tell the verdict, colour only helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from history.plan import RunPlan
from history.verdict import Outcome, RunVerdict
from kvchaos.expectation import Standing, standing
from kvchaos.report.evidence import evidence_lines
from kvchaos.report.summary import SYMBOLS

STYLES: dict[str, str] = {
    Standing.EXPECTED: "green",
    Standing.NOT_EXPECTED: "bold red",
    Standing.UNKNOWN: "yellow",
    Standing.IGNORED: "dim",
}
OUTCOME_SYMBOLS: dict[Outcome, str] = {"as expected": "✓", "not as expected": "✗", "unknown": "?"}


WITNESSES = 2
"""Shown of each oracle; verdict.json has more."""


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One run of a campaign: its verdict and where its evidence lies."""

    verdict: RunVerdict
    run_dir: Path


def run_table(plan: RunPlan, verdict: RunVerdict) -> Table:
    """One row an oracle: its word, how that compares with the expectation, its evidence. Below, what weighed
    most where the run is not as expected."""
    title = f"{verdict.scenario} on {verdict.server}, seed {verdict.seed}: {outcome_text(verdict.outcome)}"
    table = Table(title=Text(title, style=STYLES[verdict.outcome]), title_justify="left")
    table.add_column("oracle", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for result in verdict.results:
        stands = standing(result, plan.expectation)
        word = f"{SYMBOLS[result.verdict]} {result.verdict}"
        if stands is Standing.IGNORED:
            word += " (does not count)"
        elif result.oracle in verdict.expected_failures:
            word += " (expected to fail)"
        # Text, not markup: evidence holds brackets of its own.
        evidence = Text("\n".join(evidence_lines(result, WITNESSES)))
        table.add_row(result.oracle, Text(word, style=STYLES[stands]), evidence)
    if verdict.outcome != "as expected" and verdict.reasons:
        table.caption, table.caption_justify = Text(verdict.reasons[0]), "left"
    return table


def campaign_table(rows: Sequence[CampaignRow]) -> Table:
    """One row a run."""
    table = Table(title="campaign", title_justify="left")
    for heading in ("scenario", "server", "seed", "outcome"):
        table.add_column(heading, no_wrap=True)
    table.add_column("expected failures", overflow="fold")
    for row in rows:
        verdict = row.verdict
        table.add_row(
            verdict.scenario,
            verdict.server,
            str(verdict.seed),
            Text(outcome_text(verdict.outcome), style=STYLES[verdict.outcome]),
            Text(_expected(verdict)),
        )
    return table


def run_dir_lines(rows: Sequence[CampaignRow]) -> list[str]:
    """Where the evidence of each run lies; apart from the table, so that a path stays in one piece."""
    return [f"{row.verdict.scenario}, seed {row.verdict.seed}: {row.run_dir}" for row in rows]


def outcome_text(outcome: Outcome) -> str:
    return f"{OUTCOME_SYMBOLS[outcome]} {outcome}"


def _expected(verdict: RunVerdict) -> str:
    if not verdict.expected_failures:
        return "none"
    return f"{', '.join(verdict.expected_failures)} ({verdict.issue})"
