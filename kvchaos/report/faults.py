"""The catalogue of faults as it is shown to people: made of the table that the module itself works by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from chaos.inside.faults import KINDS
from chaos.inside.kind import FaultKind, Parameter
from kvchaos.report.markdown import between, markdown_table

KINDS_MARK = "<!-- kinds -->"
PARAMETERS_MARK = "<!-- parameters -->"

KIND_HEADINGS = (
    "fault",
    "contract",
    "there",
    "place",
    "what it does",
    "proof in the journal",
    "what comes of it",
    "healed",
)
PARAMETER_HEADINGS = ("fault", "parameter", "default", "meaning")


def kinds_table() -> Table:
    """One row a fault."""
    table = Table(title="faults inside the server", title_justify="left")
    for heading in KIND_HEADINGS:
        table.add_column(heading, overflow="fold")
    for kind in KINDS.values():
        table.add_row(*(Text(cell) for cell in _kind_cells(kind)))
    return table


def into_page(page: str) -> str:
    """The page with both tables between their marks. Raises ValueError when a mark is missing."""
    page = between(page, KINDS_MARK, markdown_table(KIND_HEADINGS, map(_kind_row, KINDS.values())))
    return between(page, PARAMETERS_MARK, markdown_table(PARAMETER_HEADINGS, _parameter_rows()))


def _kind_cells(kind: FaultKind) -> tuple[str, ...]:
    where = f"{kind.role}: {kind.site}"
    return (
        kind.name,
        kind.contract,
        kind.releases,
        where,
        kind.effect,
        kind.evidence,
        kind.consequence,
        kind.heals,
    )


def _kind_row(kind: FaultKind) -> Sequence[str]:
    name, *others = _kind_cells(kind)
    return (f"`{name}`", *others)


def _parameter_rows() -> Iterator[Sequence[str]]:
    for kind in KINDS.values():
        for name, parameter in kind.parameters.items():
            if name != "dry_run":
                default = f"`{parameter.default}`"
                yield (f"`{kind.name}`", f"`{name}`", default, f"{parameter.about}{_bounds(parameter)}")


def _bounds(parameter: Parameter) -> str:
    if parameter.choices:
        return f" ({', '.join(parameter.choices)})"
    return f" ({parameter.low:g} to {parameter.high:g})"
