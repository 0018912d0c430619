"""The command `kvchaos judge`: the verdict of an old run, from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from history.reader import UnreadableRun, read_plan
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import exit_code, judge_run_dir
from kvchaos.terminal.result_tables import show_run


def judge_command(run_dir: Annotated[Path, typer.Argument(help="A run directory.")]) -> int:
    """Judge a run again. Needs no server."""
    try:
        plan = read_plan(run_dir)
        verdict = judge_run_dir(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
    show_run(Console(), plan, verdict, run_dir)
    return exit_code([verdict.outcome])
