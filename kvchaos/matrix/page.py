"""The matrix in a page of the documentation: a table, the bugs in it, and what nothing explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase

from kvchaos.bugs.bug_file import KnownBug
from kvchaos.matrix.cell import Cell
from kvchaos.matrix.grid import Grid, State, state_of, what_is_wrong
from kvchaos.report.markdown import cell_text, markdown_table, replace_between

MARK = "<!-- matrix -->"
SYMBOLS: Mapping[State, str] = {
    State.CLEAN: "✓",
    State.KNOWN: "",
    State.RED: "✗",
    State.UNKNOWN: "?",
    State.FAILED: "!",
    State.NEVER: "·",
}
"""Where known bugs showed, their letters follow."""


def into_page(page: str, grid: Grid, bugs: Sequence[KnownBug]) -> str:
    """The page with the matrix between its marks. Raises ValueError when a mark is missing."""
    return replace_between(page, MARK, "".join(f"{line}\n" for line in _lines(grid, bugs)))


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
