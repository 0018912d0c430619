"""The command `kvchaos reseal`: for run directories that were altered on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from history.jsonl import UnreadableRun
from history.reader import read_plan
from history.seals import reseal
from kvchaos.errors import UsageError


def reseal_command(run_dir: Annotated[Path, typer.Argument(help="A run directory.")]) -> int:
    """Seal a run again whose files were altered on purpose, as tests do. Its verdict says so."""
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir}: no such run directory")
    try:
        read_plan(run_dir)
        count = reseal(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: cannot be sealed: {error.strerror}") from error
    typer.echo(f"{run_dir}: {count} files sealed")
    return 0
