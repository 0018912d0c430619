"""The commands on stored runs, from their files alone: `kvchaos judge` and `kvchaos reseal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from history.reader import UnreadableRun, read_plan
from history.seals import reseal
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import exit_code, judge_run_dir
from kvchaos.terminal.result_tables import show_run


def judge_command(run_dir: Annotated[Path, typer.Argument(help="Run directory.")]) -> int:
    """Judge a stored run again. Needs no server."""
    try:
        plan = read_plan(run_dir)
        verdict = judge_run_dir(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
    show_run(Console(), plan, verdict, run_dir)
    return exit_code([verdict.outcome])


def reseal_command(run_dir: Annotated[Path, typer.Argument(help="Run directory.")]) -> int:
    """Seal a run again after its files were changed on purpose. Its verdict says "resealed"."""
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
