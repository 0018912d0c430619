"""What the page shows of a search for failures: its signatures, and its runs by oracle."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvchaos.stability.campaign_records import CampaignRun, StabilityNight
from kvchaos.stability.oracle_grid import GridRow, OracleGrid, oracle_grid
from kvchaos.stability.signature_states import TrackedSignature
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.stability.stability_summary import repeat_command, repeats_text, slope_cells

ReportUrl = Callable[[Path], str | None]
"""Address of the report of a run directory, where there is one."""


@dataclass(frozen=True, slots=True)
class RunExample:
    """A run that shows a signature."""

    name: str
    url: str | None


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """One signature."""

    tracked: TrackedSignature
    repeats: str
    issue: str | None
    command: str
    examples: Sequence[RunExample]


@dataclass(frozen=True, slots=True)
class LinkedRow:
    """One run of the grid."""

    row: GridRow
    url: str | None
    command: str


@dataclass(frozen=True, slots=True)
class StabilityPart:
    """All that the page shows of the last search."""

    night: StabilityNight
    signatures: Sequence[SignatureRow]
    grid: OracleGrid
    odd: Sequence[LinkedRow]
    """Runs that are not as expected, or unknown."""
    expected: Sequence[LinkedRow]
    missing: int
    """Runs of the night of which no verdict is here."""
    slopes: Sequence[tuple[tuple[str, ...], bool]]
    """Cells of each slope, and whether it grows."""


def stability_part(report: StabilityReport, runs: Path | None, report_url: ReportUrl) -> StabilityPart:
    """It looks only whether the reports of the runs exist. `runs`: the folder of all nights."""
    folder = runs / report.night.folder if runs is not None and report.night.folder else None
    server = report.night.server_name

    def url(run_dir: str) -> str | None:
        return None if folder is None else report_url(folder / run_dir)

    def linked(row: GridRow) -> LinkedRow:
        return LinkedRow(row, url(row.run.run), run_command(row.run, server))

    grid = oracle_grid(report.runs, report.verdicts)
    return StabilityPart(
        night=report.night,
        signatures=[
            SignatureRow(
                tracked=each,
                repeats=repeats_text(each.latest.repeats),
                issue=report.links.issue(each.signature),
                command=repeat_command(each),
                examples=[RunExample(run, url(run)) for _, _, run in each.latest.examples],
            )
            for each in report.tracked
        ],
        grid=grid,
        odd=[linked(row) for row in grid.with_outcome("not as expected", "unknown")],
        expected=[linked(row) for row in grid.with_outcome("as expected")],
        missing=report.night.runs - len(grid.rows),
        slopes=[(slope_cells(slope), slope.grows) for slope in report.night.slopes],
    )


def run_command(run: CampaignRun, server: str) -> str:
    """The command that repeats a run of the night."""
    return shlex.join(["kvchaos", "run", run.scenario, "--server", server, "--seed", str(run.seed)])
