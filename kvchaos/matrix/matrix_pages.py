"""The results as a grid, in a page of the documentation and as a heat map. A cell never run is no success."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from string import ascii_lowercase

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from packaging.version import Version

from history.scenario import Scenario
from kvchaos.bugs import bug_pages
from kvchaos.bugs.bug_catalogue import KnownBug, known_bugs
from kvchaos.matrix.cells import Cell, Results, read_all, write_whole
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from kvchaos.report.html.report_page import source_hash
from kvchaos.report.text_tables import cell_text, markdown_table, replace_between, update_page
from kvchaos.report.verdict_text import clean
from kvchaos.servers.releases import known_releases


class State(StrEnum):
    """The state of a cell, as the page names it."""

    CLEAN = "no bug showed"
    KNOWN = "known bugs showed, and nothing else"
    RED = "not as expected"
    UNKNOWN = "unknown"
    FAILED = "could not be run"
    NEVER = "never run"


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows are scenarios, columns releases."""

    releases: list[str]
    scenarios: list[str]
    cells: dict[tuple[str, str], Cell]
    """Cells by scenario and release."""

    def states(self) -> Counter[State]:
        """How many cells there are of each state."""
        return Counter(
            state_of(self.cells.get((scenario, release)))
            for scenario in self.scenarios
            for release in self.releases
        )

    def days(self) -> list[str]:
        """The first and the last day of a run; the only one once; none: nothing was run."""
        days = sorted({cell.day for cell in self.cells.values()})
        return [*days[:1], *days[1:][-1:]]

    def bugs(self) -> dict[str, list[str]]:
        """The known bugs that showed, by id, each with the releases on which it did, oldest first."""
        found: dict[str, set[str]] = {}
        for (_, release), cell in self.cells.items():
            for bug in cell.bugs:
                found.setdefault(bug, set()).add(release)
        return {bug: sorted(found[bug], key=Version) for bug in sorted(found)}

    def of_state(self, state: State) -> list[tuple[str, str, Cell]]:
        """Scenario, release and cell of the cells of one state, row by row."""
        return [
            (scenario, release, cell)
            for scenario in self.scenarios
            for release in self.releases
            if (cell := self.cells.get((scenario, release))) and state_of(cell) is state
        ]


def grid_of(results: Sequence[Results], releases: Iterable[str], scenarios: Iterable[str]) -> Grid:
    """All cells that there should be, and those of scenarios that are no more."""
    cells = {(cell.scenario, row.release): cell for row in results for cell in row.cells}
    return Grid(
        releases=sorted({*releases, *(row.release for row in results)}, key=Version),
        scenarios=sorted({*scenarios, *(scenario for scenario, _ in cells)}),
        cells=cells,
    )


def state_of(cell: Cell | None) -> State:
    """State of a cell for the heat map; None is a cell that was never run."""
    match cell:
        case None:
            return State.NEVER
        case Cell(outcome=None):
            return State.FAILED
        case Cell(outcome="as expected"):
            return State.KNOWN if cell.bugs else State.CLEAN
        case Cell(outcome="unknown"):
            return State.UNKNOWN
        case _:
            return State.RED


def what_is_wrong(cell: Cell) -> str:
    """Why a cell is unknown or not as expected.

    The signatures that nothing explains and the known bugs that did not show, or else the reason.
    """
    parts = [cause.signature for cause in cell.causes if cause.unexplained]
    parts += [f"{bug} did not show" for bug in cell.absent]
    return "; ".join(parts) or cell.reason or "no reason is kept"


MATRIX_MARK = "<!-- matrix -->"
SYMBOLS: Mapping[State, str] = {
    State.CLEAN: "✓",
    State.KNOWN: "",
    State.RED: "✗",
    State.UNKNOWN: "?",
    State.FAILED: "!",
    State.NEVER: "·",
}
"""Where known bugs showed, their letters follow."""


def insert_matrix(page: str, grid: Grid, bugs: Sequence[KnownBug]) -> str:
    """The page with the matrix between its marks. Raises ValueError when a mark is missing."""
    return replace_between(page, MATRIX_MARK, "".join(f"{line}\n" for line in _lines(grid, bugs)))


def _lines(grid: Grid, bugs: Sequence[KnownBug]) -> Iterator[str]:
    letters = dict(zip(grid.bugs(), _letters(), strict=False))
    states, days = grid.states(), grid.days()
    counts = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    yield f"{sum(states.values())} cells: {counts}; {' to '.join(days) or 'nothing was run'}."
    yield ""
    legend = (f"{symbol} {state}" for state, symbol in SYMBOLS.items() if symbol)
    yield f"{', '.join(legend)}; a letter: this known bug showed."
    yield ""
    rows = (
        (f"`{scenario}`", *(_cell(grid.cells.get((scenario, release)), letters) for release in grid.releases))
        for scenario in grid.scenarios
    )
    yield markdown_table(("scenario", *grid.releases), rows)
    known = {bug.id: bug for bug in bugs}
    for name, releases in grid.bugs().items():
        yield f"- {letters[name]}: {_named(name, known)}: {', '.join(releases)}"
    for state in (State.RED, State.UNKNOWN, State.FAILED):
        for scenario, release, cell in grid.of_state(state):
            yield f"- {release}, `{scenario}`, {state}: {cell_text(what_is_wrong(cell))}"


def _cell(cell: Cell | None, letters: Mapping[str, str]) -> str:
    symbol = SYMBOLS[state_of(cell)]
    return " ".join(filter(None, (symbol, *(letters[bug] for bug in (cell.bugs if cell else ())))))


def _named(name: str, known: Mapping[str, KnownBug]) -> str:
    bug = known.get(name)
    if bug is None:
        return f"{name}, a bug that is not among the known ones any more"
    linked = f"[{bug.id}]({bug.links[0]})" if bug.links else bug.id
    return f"{linked}, {cell_text(bug.title)}"


def _letters() -> Iterator[str]:
    """a to z, then aa, ab and so on."""
    yield from ascii_lowercase
    for first in ascii_lowercase:
        for second in ascii_lowercase:
            yield first + second


CLASSES = {state: state.name.lower() for state in State}


@dataclass(frozen=True, slots=True)
class Box:
    """One cell of the heat map."""

    css: str
    state: str
    text: str
    """Its content."""
    more: str
    """The tooltip."""


def heatmap_html(grid: Grid, bugs: Sequence[KnownBug]) -> str:
    """The file. Pure: the same results give the same file."""
    style, states = _resource("heatmap.css"), grid.states()
    rows = [
        (scenario, [box_of(grid.cells.get((scenario, release))) for release in grid.releases])
        for scenario in grid.scenarios
    ]
    known = {bug.id: bug for bug in bugs}
    text = (
        _environment()
        .get_template("heatmap.html")
        .render(
            style=Markup(style),
            style_hash=source_hash(style),
            releases=grid.releases,
            rows=rows,
            legend=[(CLASSES[state], str(state), states[state]) for state in State],
            days=" to ".join(grid.days()) or "nothing was run",
            bugs=[(known[name], releases) for name, releases in grid.bugs().items() if name in known],
        )
    )
    return clean(text)


def box_of(cell: Cell | None) -> Box:
    """What a cell shows."""
    state = state_of(cell)
    text = str(state) if cell is None else _text(cell, state)
    return Box(CLASSES[state], str(state), text, "" if cell is None else "\n".join(_more(cell)))


def _text(cell: Cell, state: State) -> str:
    if state in (State.RED, State.UNKNOWN, State.FAILED):
        return what_is_wrong(cell)
    if state is State.KNOWN:
        named = [f"{cause.signature} ({', '.join(cause.bugs)})" for cause in cell.causes if cause.bugs]
        return "; ".join(named) or ", ".join(cell.bugs)
    return "; ".join(cause.signature for cause in cell.causes) or "✓"


def _more(cell: Cell) -> Iterator[str]:
    for cause in cell.causes:
        whys = [*cause.bugs, *(f"fault {fault}" for fault in cause.faults)]
        yield f"{cause.signature}: {', '.join(whys) or 'not explained'}"
    if cell.reason:
        yield cell.reason
    if cell.fresh:
        yield f"again on a fresh server: {cell.fresh}"
    yield f"{cell.run or 'no run'}, seed {cell.seed}, {cell.day}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("kvchaos.matrix", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _resource(name: str) -> str:
    return (resources.files("kvchaos.matrix") / "templates" / name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Published:
    """Paths of the results, the page and the heat map."""

    results: Path
    document: Path | None
    """Page to update; None: none."""
    html: Path


def local_scenarios() -> list[Scenario]:
    """The scenarios of the matrix, by file."""
    loaded = [load_scenario(path) for path in scenario_files()]
    return [scenario for scenario in loaded if "local" in scenario.stacks]


def publish(wanted: Published) -> None:
    """Write the heat map and bring the page up to date. Raises UsageError."""
    names = [scenario.name for scenario in local_scenarios()]
    grid, bugs = grid_of(read_all(wanted.results), known_releases(), names), known_bugs()
    write_whole(wanted.html, heatmap_html(grid, bugs).encode())
    if wanted.document is not None:
        update_page(wanted.document, lambda text: insert_matrix(_guided(text, grid), grid, bugs))


def _guided(text: str, grid: Grid) -> str:
    return bug_pages.insert_guide(text, known_releases(), known_bugs(), shown_on(grid))


def shown_on(grid: Grid) -> dict[str, set[str]]:
    """By id of a bug the releases of the cells in which it showed."""
    found: dict[str, set[str]] = defaultdict(set)
    for (_, release), cell in grid.cells.items():
        for bug in cell.bugs:
            found[bug].add(release)
    return found
