"""The command `kvchaos faults`: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvchaos.cli.tables import print_table
from kvchaos.errors import UsageError
from kvchaos.report.faults import into_page, kinds_table


def faults_command(
    page: Annotated[
        Path | None, typer.Option(help="Bring the tables of this page up to date instead of printing.")
    ] = None,
) -> None:
    """List the faults: what each does, where, what proves it, what comes of it, how it heals."""
    if page is None:
        print_table(kinds_table())
        return
    try:
        page.write_text(into_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{page}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{page}: {error}") from error
