"""The matrix as one file of HTML: a heat map with the signature in each cell. It needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kvchaos.bugs.bug_file import KnownBug
from kvchaos.matrix.cell import Cell
from kvchaos.matrix.grid import Grid, State, state_of, what_is_wrong
from kvchaos.report.html.report_page import source_hash
from kvchaos.report.verdict_text import clean

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
