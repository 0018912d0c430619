"""The page and the heat map show what is in the data, and a cell that was never run as such."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from packaging.version import Version

from history.verdict import Outcome
from kvchaos.bugs import bug_pages
from kvchaos.bugs.bug_catalogue import KnownBug, find_bug, known_bugs
from kvchaos.matrix import matrix_pages
from kvchaos.matrix.cells import Cell, CellCause, Results, read_all
from kvchaos.matrix.matrix_pages import Grid, Published, grid_of, heatmap_html, publish, shown_on
from kvchaos.servers.releases import known_releases

ROOT = Path(__file__).parents[3]
PAGE = "# Releases\n<!-- guide -->\nold\n<!-- end -->\n\n<!-- matrix -->\nold\n<!-- end -->\nThe rest.\n"
DIED = "server-alive/died: AssertionError in <b>"
RELEASES = ("0.9.0", "0.18.0", "0.32.0")


def cell(scenario: str, outcome: Outcome | None, **more: object) -> Cell:
    plain = Cell(
        scenario=scenario, outcome=outcome, seed=1, day="2026-11-30", run=None, made="0" * 16, judged="1" * 16
    )
    return replace(plain, **more)


@pytest.fixture
def grid() -> Grid:
    counted = CellCause(signature="accounting/abandoned-requests: server", bugs=["vllm-31503"])
    died = CellCause(signature=DIED, unexplained=True)
    old = [
        cell("aborts", "as expected", bugs=["vllm-31503"], causes=[counted]),
        cell("clean", "as expected"),
        cell("late", "unknown", reason="busy | machine"),
        cell("red", "not as expected", causes=[died, counted], bugs=["vllm-31503"]),
    ]
    new = [cell("absent", "not as expected", absent=["vllm-36533"]), cell("broken", None, reason="no start")]
    rows = [Results(release="0.32.0", cells=new), Results(release="0.18.0", cells=old)]
    return grid_of(rows, RELEASES, ["aborts", "never"])


def table(text: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_table_has_a_symbol_for_each_cell_and_a_letter_for_each_bug(grid: Grid) -> None:
    made = matrix_pages.insert_matrix(PAGE, grid, known_bugs())
    shown = table(made)
    assert shown.pop("scenario") == list(RELEASES)
    del shown["---"]
    assert shown == {
        "absent": ["·", "·", "✗"],
        "aborts": ["·", "a", "·"],
        "broken": ["·", "·", "!"],
        "clean": ["·", "✓", "·"],
        "late": ["·", "?", "·"],
        "never": ["·", "·", "·"],
        "red": ["·", "✗ a", "·"],
    }
    assert made.endswith("<!-- end -->\nThe rest.\n")


def test_the_page_names_each_bug_and_each_cell_that_is_not_explained(grid: Grid) -> None:
    lines = matrix_pages.insert_matrix(PAGE, grid, known_bugs()).splitlines()
    bug = find_bug("vllm-31503", known_bugs())
    assert f"- a: [vllm-31503]({bug.links[0]}), {bug.title}: 0.18.0" in lines
    assert "- 0.18.0, `red`, not as expected: server-alive/died: AssertionError in &lt;b&gt;" in lines
    assert "- 0.32.0, `absent`, not as expected: vllm-36533 did not show" in lines
    assert "- 0.18.0, `late`, unknown: busy \\| machine" in lines
    assert "- 0.32.0, `broken`, could not be run: no start" in lines


def test_the_page_counts_the_cells_that_were_never_run(grid: Grid) -> None:
    made = matrix_pages.insert_matrix(PAGE, grid, known_bugs())
    (head,) = (line for line in made.splitlines() if " cells: " in line)
    assert head.startswith("21 cells: 1 no bug showed, 1 known bugs showed")
    assert "15 never run; 2026-11-30." in head


def test_removed_known_bug_is_still_named(grid: Grid) -> None:
    assert "- a: vllm-31503, a bug that is not among the known ones" in matrix_pages.insert_matrix(
        PAGE, grid, ()
    )


def boxes(text: str) -> list[str]:
    return re.findall(r'<td class="(\w+)"', text)


def test_the_heat_map_colours_each_cell_by_its_state(grid: Grid) -> None:
    shown = boxes(heatmap_html(grid, known_bugs()))
    assert len(shown) == 21
    counts = {state: shown.count(state) for state in set(shown)}
    assert counts == {"never": 15, "clean": 1, "known": 1, "red": 2, "unknown": 1, "failed": 1}


def test_the_heat_map_shows_signatures_and_escapes_them(grid: Grid) -> None:
    made = heatmap_html(grid, known_bugs())
    assert "server-alive/died: AssertionError in &lt;b&gt;</span>" in made
    assert "accounting/abandoned-requests: server (vllm-31503)" in made
    assert "<b>" not in made


def test_the_heat_map_loads_nothing_and_runs_nothing(grid: Grid) -> None:
    made = heatmap_html(grid, known_bugs())
    assert "<script" not in made
    assert not re.search(r'(src|href)="(?!https://github\.com/|data:,)', made)


def test_the_guide_has_each_release_once_and_what_to_do(grid: Grid) -> None:
    made = bug_pages.insert_guide(PAGE, known_releases(), known_bugs())
    (part,) = re.findall(r"### 0\.22\.0 to 0\.22\.1\n\n(.*?)\n\n", made, re.DOTALL)
    deadlock = next(line for line in part.splitlines() if "vllm-45388" in line)
    guidance = find_bug("vllm-45388", known_bugs()).guidance
    assert guidance is not None
    assert deadlock.startswith(f"- **{guidance.impact}**: ")
    assert f"When: {guidance.when} Do: {guidance.advice}" in deadlock
    assert "vllm-49118" not in part


def test_the_guide_names_the_releases_with_the_fewest_severe_bugs() -> None:
    named = [find_bug(name, known_bugs()) for name in ("vllm-36533", "vllm-31503")]
    made = bug_pages.insert_guide(PAGE, ("0.18.0", "0.19.0", "0.20.0"), named)
    assert "or change answers are 0.19.0 to 0.20.0; each has 0 of them." in made
    assert "or change answers are 0.18.0; each has 1 of them." in bug_pages.insert_guide(
        PAGE, ("0.18.0",), named
    )


def test_bug_that_the_matrix_shows_is_reproduced_in_the_guide() -> None:
    bugs = known_bugs()
    grid = grid_of(read_all(ROOT / "matrix"), known_releases(), [])
    shown = shown_on(grid)
    made = bug_pages.insert_guide(PAGE, known_releases(), bugs, shown)
    for bug in bugs:
        severe = bug.guidance is None or bug.guidance.impact in bug_pages.SEVERE
        for release in shown.get(bug.id, ()):
            if severe and bug.on(Version(release)):
                reproduced = re.findall(rf"\({re.escape(f'[{bug.id}]')}\(\S+; reproduced on ([^)]*)\)", made)
                assert release in ", ".join(reproduced).split(", "), (bug.id, release)


@pytest.mark.parametrize("bug", known_bugs(), ids=lambda bug: bug.id)
def test_each_known_bug_lists_its_trigger_and_workaround(bug: KnownBug) -> None:
    assert bug.guidance is not None


def test_page_and_heat_map_in_the_repository_are_those_of_the_data(tmp_path: Path) -> None:
    """Update them with `kvchaos matrix --page docs/releases.md --page-only`."""
    kept, html = ROOT / "docs" / "releases.md", tmp_path / "heatmap.html"
    copy = tmp_path / "releases.md"
    copy.write_text(kept.read_text())
    publish(Published(ROOT / "matrix", copy, html))
    assert copy.read_text() == kept.read_text()
    assert html.read_text() == (ROOT / "matrix" / "heatmap.html").read_text()
