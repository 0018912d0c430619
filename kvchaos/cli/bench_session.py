"""What all measurements of `kvchaos bench` share: a folder, the runs in it, tables, a page, an exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console

from history.verdict import Outcome
from kvchaos.bench.bench_file import PAGE, Bench
from kvchaos.bench.bench_page import page_html
from kvchaos.bench.bench_runner import (
    BenchRunner,
    LoadOptions,
    MeasurementInterrupted,
    new_folder,
)
from kvchaos.bench.bench_tables import Table, conclusions, missing_seeds, tables
from kvchaos.campaign.campaign import clean_orphans
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.report.text_tables import plain_table, print_table

Conduct = Callable[[BenchRunner], None]
"""Makes all runs of a measurement."""


def conduct(bench: Bench, runs: Path | None, sender: LoadOptions, make: Conduct) -> int:
    """Make all runs of a measurement in a folder of its own, then show it. Raises UsageError."""
    parent = runs.absolute() if runs else runs_folder()
    workspace = Workspace(cache=cache_folder(), runs=parent, port=None)
    console = Console(stderr=True)
    clean_orphans(workspace, console)
    folder = new_folder(bench.kind, bench.scenario, parent)
    bencher = BenchRunner(bench, folder, workspace, sender, console)
    try:
        make(bencher)
    except MeasurementInterrupted:
        console.print("interrupted; results so far:")
    return show(bencher.bench, folder)


def show(bench: Bench, folder: Path) -> int:
    """Print and draw. Exit code: 0 whole, 1 a run was not as expected, 2 something is missing."""
    print_sheets(tables(bench))
    typer.echo("")
    for line in conclusions(bench):
        typer.echo(line)
    try:
        (folder / PAGE).write_text(page_html(bench), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder / PAGE}: cannot be written: {error.strerror}") from error
    typer.echo(f"tables and curves: {folder / PAGE}")
    outcomes: set[Outcome] = {run.outcome for run in bench.runs}
    if "not as expected" in outcomes:
        return 1
    return 2 if missing_seeds(bench) else 0


def print_sheets(found: Sequence[Table]) -> None:
    """Each with its heading."""
    for sheet in found:
        typer.echo(f"\n{sheet.heading}")
        table = plain_table(*sheet.headings)
        for row in sheet.rows:
            table.add_row(*row)
        print_table(table)
