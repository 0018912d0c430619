"""The results as a grid: what each cell shows on a page or a heat map. A cell never run is no success."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from packaging.version import Version

from kvchaos.matrix.cell import Cell, Results


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
    """By scenario and release."""

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
    """Why a cell is not as expected or unknown: the signatures that nothing explains, the bugs that should
    have shown, else the reason."""
    parts = [cause.signature for cause in cell.causes if cause.unexplained]
    parts += [f"{bug} did not show" for bug in cell.absent]
    return "; ".join(parts) or cell.reason or "no reason is kept"
