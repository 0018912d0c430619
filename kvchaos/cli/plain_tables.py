"""Printing tables: fitted to a terminal, whole lines elsewhere, so that a path is never cut in a log."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 500


def plain_table(*headers: str) -> Table:
    """A table without lines; long cells go on in the next line."""
    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)
