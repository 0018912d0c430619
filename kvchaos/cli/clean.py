"""The command `kvchaos clean`: end what killed runs left behind."""

from __future__ import annotations

import typer

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, state_folder
from kvchaos.stacks.leftovers import clean, find_leftovers


def clean_command() -> None:
    """End the processes and remove the files that a killed run left behind. Live runs are left alone."""
    leftovers = find_leftovers(state_folder(cache_folder()))
    if not leftovers:
        typer.echo("nothing to clean")
    remaining: list[str] = []
    for leftover in leftovers:
        typer.echo(f"run {leftover.state.run_id} ({leftover.state.run_dir}) was killed")
        result = clean(leftover)
        for line in result.ended or ("nothing of it was left",):
            typer.echo(f"  {line}")
        remaining += result.remaining
    if remaining:
        raise UsageError("; ".join(remaining))
