"""`kvchaos doctor`: is this machine fit?"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from kvchaos.cli.plain_tables import plain_table, print_table
from kvchaos.doctor import gpu
from kvchaos.doctor.all_checks import examine
from kvchaos.doctor.check import CheckState
from kvchaos.paths import cache_folder, runs_folder

COLOURS = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.BAD: "red"}


def doctor(
    with_gpu: Annotated[
        bool, typer.Option("--gpu", help="Also check what runs on a GPU in containers need.")
    ] = False,
) -> None:
    """Check this machine and tell how to mend what is missing."""
    checks = list(examine(cache_folder(), runs_folder()))
    if with_gpu:
        checks += gpu.examine(None)
    table = plain_table("check", "", "found", "what to do")
    for check in checks:
        state = f"[{COLOURS[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, escape(check.found), escape(check.fix))
    print_table(table)
    if any(check.state is CheckState.BAD for check in checks):
        raise typer.Exit(3)
