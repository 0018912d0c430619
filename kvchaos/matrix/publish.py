"""Page and heat map from the results in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history.scenario import Scenario
from kvchaos.bugs import guide
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.matrix import page
from kvchaos.matrix.grid import grid_of
from kvchaos.matrix.heatmap import heatmap_html
from kvchaos.matrix.store import read_all, write_whole
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from kvchaos.report.markdown import update_page
from kvchaos.servers.releases import known_releases


@dataclass(frozen=True, slots=True)
class Published:
    """Where the results are, and what is made of them."""

    results: Path
    document: Path | None
    """To be brought up to date; None: none."""
    html: Path


def local_scenarios() -> list[Scenario]:
    """Those of the matrix, by file."""
    loaded = [load_scenario(path) for path in scenario_files()]
    return [scenario for scenario in loaded if "local" in scenario.stacks]


def publish(wanted: Published) -> None:
    """Write the heat map and bring the page up to date. Raises UsageError."""
    names = [scenario.name for scenario in local_scenarios()]
    grid, bugs = grid_of(read_all(wanted.results), known_releases(), names), known_bugs()
    write_whole(wanted.html, heatmap_html(grid, bugs).encode())
    if wanted.document is not None:
        update_page(wanted.document, lambda text: page.into_page(_guided(text), grid, bugs))


def _guided(text: str) -> str:
    return guide.into_page(text, known_releases(), known_bugs())
