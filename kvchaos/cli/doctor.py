"""`kvchaos doctor`: is this machine fit?"""

from __future__ import annotations

import typer
from rich.markup import escape

from kvchaos.cli.tables import plain_table, print_table
from kvchaos.doctor import State, examine
from kvchaos.paths import cache_folder, runs_folder

COLOURS = {State.OK: "green", State.WARN: "yellow", State.BAD: "red"}


def doctor() -> None:
    """Check this machine and tell how to mend what is missing."""
    checks = list(examine(cache_folder(), runs_folder()))
    table = plain_table("check", "", "found", "what to do")
    for check in checks:
        state = f"[{COLOURS[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, escape(check.found), escape(check.mend))
    print_table(table)
    if any(check.state is State.BAD for check in checks):
        raise typer.Exit(3)
