"""The command `kvchaos faults`: the catalogue of faults as tables, for the terminal and for the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from chaos.fault_catalogue import ORIGINS, Kind
from chaos.inside.fault_kind import Effect, EffectScope, FaultKind, Parameter
from chaos.inside.inside_kinds import KINDS
from chaos.outside.injector import OutsideKind
from chaos.outside.outside_kinds import KINDS as OUTSIDE_KINDS
from history.protocol.extensions import OWN
from kvchaos.report.text_tables import markdown_table, print_table, replace_between, update_page

AnyKind = TypeVar("AnyKind", FaultKind, OutsideKind)
KINDS_MARK = "<!-- kinds -->"
PARAMETERS_MARK = "<!-- parameters -->"

KIND_HEADINGS = (
    "fault",
    "contract",
    "releases",
    "injection point",
    "action",
    "evidence in the journal",
    "effect",
    "findings it explains",
    "effect ends",
)
OUTSIDE_KINDS_MARK = "<!-- outside kinds -->"
OUTSIDE_PARAMETERS_MARK = "<!-- outside parameters -->"
OUTSIDE_HEADINGS = (
    "fault",
    "contract",
    "target",
    "stacks",
    "action",
    "evidence in the journal",
    "effect",
    "effect ends",
)
SCOPES: dict[EffectScope, str] = {
    "struck": "on a request that it struck",
    "readers": "on requests that read the block",
    "life": "once for each incarnation of the server that it struck",
    "wait": "on a struck request, or on the server while a struck request waits",
    "rest": "on the server; it lasts until the server ends",
}
PARAMETER_HEADINGS = ("fault", "parameter", "default", "meaning")


def kinds_table() -> Table:
    """The faults inside the server, one row each."""
    return _table("faults inside the server", KIND_HEADINGS, KINDS.values(), _kind_cells)


def outside_table() -> Table:
    """The faults from outside, one row each."""
    return _table("faults from outside", OUTSIDE_HEADINGS, OUTSIDE_KINDS.values(), _outside_cells)


def insert_tables(page: str) -> str:
    """The page, of the faults inside or of those outside, with both tables between their marks.

    Raises ValueError when a mark is missing.
    """
    if OUTSIDE_KINDS_MARK in page:
        rows = map(_row, map(_outside_cells, _own(OUTSIDE_KINDS)))
        page = replace_between(page, OUTSIDE_KINDS_MARK, markdown_table(OUTSIDE_HEADINGS, rows))
        table = markdown_table(PARAMETER_HEADINGS, _parameter_rows(_own(OUTSIDE_KINDS)))
        return replace_between(page, OUTSIDE_PARAMETERS_MARK, table)
    rows = map(_row, map(_kind_cells, _own(KINDS)))
    page = replace_between(page, KINDS_MARK, markdown_table(KIND_HEADINGS, rows))
    return replace_between(
        page, PARAMETERS_MARK, markdown_table(PARAMETER_HEADINGS, _parameter_rows(_own(KINDS)))
    )


def _table(
    title: str, headings: Sequence[str], kinds: Iterable[AnyKind], cells: Callable[[AnyKind], Sequence[str]]
) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (*headings, "from"):
        table.add_column(heading, overflow="fold")
    for kind in kinds:
        table.add_row(*map(Text, cells(kind)), Text(ORIGINS[kind.name]))
    return table


def _own(kinds: Mapping[str, AnyKind]) -> list[AnyKind]:
    """The faults of kvchaos itself, for its pages."""
    return [kind for name, kind in kinds.items() if ORIGINS[name] == OWN]


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
        declared_text(kind),
        kind.heals,
    )


def _outside_cells(kind: OutsideKind) -> tuple[str, ...]:
    return (
        kind.name,
        kind.contract,
        kind.target,
        ", ".join(kind.stacks),
        kind.effect,
        kind.evidence,
        kind.consequence,
        kind.heals,
    )


def declared_text(kind: Kind) -> str:
    """The findings that a fault explains, and those that it may bring and does not explain."""
    if not kind.declared and not kind.undeclared:
        return "none"
    declared = list(dict.fromkeys(map(_effect_text, kind.declared)))
    return "; ".join(
        [*declared, *([f"not explained, list it under expect: {kind.undeclared}"] if kind.undeclared else [])]
    )


def _effect_text(effect: Effect) -> str:
    least = f"at least {effect.least}, " if effect.least and effect.scope != "life" else ""
    copies = f"{effect.direction}s: " if effect.direction else ""
    return f"{copies}{' or '.join(effect.rules)} ({least}{SCOPES[effect.scope]})"


def _row(cells: Sequence[str]) -> Sequence[str]:
    name, *others = cells
    return (f"`{name}`", *others)


def _parameter_rows(kinds: Iterable[Kind]) -> Iterator[Sequence[str]]:
    for kind in kinds:
        for name, parameter in kind.parameters.items():
            if name != "dry_run":
                default = f"`{parameter.default}`"
                yield (f"`{kind.name}`", f"`{name}`", default, f"{parameter.about}{_bounds(parameter)}")


def _bounds(parameter: Parameter) -> str:
    if parameter.choices:
        return f" ({', '.join(parameter.choices)})"
    if isinstance(parameter.default, bool):
        return " (True, False)"
    return f" ({parameter.low:g} to {parameter.high:g})"


def faults_command(
    page: Annotated[Path | None, typer.Option(help="Update the tables in this page; print nothing.")] = None,
) -> None:
    """List the faults: action, injection point, evidence, effect, healing, and parameters."""
    if page is None:
        print_table(kinds_table())
        print_table(outside_table())
        return
    update_page(page, insert_tables)
