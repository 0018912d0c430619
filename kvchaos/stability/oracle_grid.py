"""The runs of a night by oracle: one row a run, one cell an oracle. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from history.verdict import Outcome, RunVerdict
from kvchaos.stability.campaign_records import CampaignRun

ORDER: tuple[Outcome, ...] = ("not as expected", "unknown", "as expected")
"""The worst first."""
NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class GridCell:
    """One oracle of one run."""

    oracle: str
    verdict: str
    """pass, fail or unknown; `not judged` where the run has no result of the oracle."""
    summary: str


@dataclass(frozen=True, slots=True)
class GridRow:
    """One run."""

    run: CampaignRun
    cells: Sequence[GridCell]


@dataclass(frozen=True, slots=True)
class OracleGrid:
    """All runs of a night that have a stored verdict."""

    oracles: Sequence[str]
    rows: Sequence[GridRow]
    """The worst outcome first, then in order of time."""

    def with_outcome(self, *outcomes: Outcome) -> list[GridRow]:
        """The rows with one of these outcomes."""
        return [row for row in self.rows if row.run.outcome in outcomes]


def oracle_grid(runs: Sequence[CampaignRun], verdicts: Mapping[str, RunVerdict]) -> OracleGrid:
    """The grid of the runs whose verdict is given by their directory."""
    judged = [run for run in runs if run.run in verdicts]
    names = dict.fromkeys(result.oracle for run in judged for result in verdicts[run.run].results)
    oracles = list(names)
    rows = [GridRow(run, _cells(verdicts[run.run], oracles)) for run in judged]
    return OracleGrid(oracles, sorted(rows, key=lambda row: (ORDER.index(row.run.outcome), row.run.number)))


def _cells(verdict: RunVerdict, oracles: Sequence[str]) -> list[GridCell]:
    results = {result.oracle: result for result in verdict.results}
    return [
        GridCell(name, results[name].verdict.value, results[name].summary)
        if name in results
        else GridCell(name, NOT_JUDGED, "the run has no result of this oracle")
        for name in oracles
    ]
