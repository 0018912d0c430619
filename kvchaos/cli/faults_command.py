"""The command `kvchaos faults`: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvchaos.cli.plain_tables import print_table
from kvchaos.report.fault_tables import insert_tables, kinds_table, outside_table
from kvchaos.report.markdown import update_page


def faults_command(
    page: Annotated[
        Path | None, typer.Option(help="Bring the tables of this page up to date instead of printing.")
    ] = None,
) -> None:
    """List the faults: what each does, where, what proves it, what comes of it, how it heals."""
    if page is None:
        print_table(kinds_table())
        print_table(outside_table())
        return
    update_page(page, insert_tables)
