"""The command `kvchaos clean`: end what killed runs left behind."""

from __future__ import annotations

from pathlib import Path

import typer

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, state_folder
from kvchaos.stacks.compose.docker_engine import connect, docker_errors_named, remove_orphaned_projects
from kvchaos.stacks.orphans import end_and_remove, find_orphans, remove_drafts


def clean_command() -> None:
    """End the processes and containers that killed runs left, and remove their files. Live runs continue."""
    state = state_folder(cache_folder())
    leftovers = find_orphans(state)
    remaining: list[str] = []
    for leftover in leftovers:
        typer.echo(f"run {leftover.state.run_id} ({leftover.state.run_dir}) was killed")
        result = end_and_remove(leftover)
        for line in result.ended or ("nothing of it was left",):
            typer.echo(f"  {line}")
        remaining += result.remaining
    kept = _remove_kept(state)
    for line in kept:
        typer.echo(line)
    drafts = remove_drafts(state)
    for draft in drafts:
        typer.echo(f"removed {draft}")
    if not leftovers and not kept and not drafts:
        typer.echo("nothing to clean")
    if remaining:
        raise UsageError("; ".join(remaining))


def _remove_kept(state: Path) -> tuple[str, ...]:
    """Projects of runs that have ended."""
    try:
        client = connect()
    except UsageError:
        # Without an engine no container runs; records that name one have been told of.
        return ()
    try:
        with docker_errors_named("what a run has left up"):
            return remove_orphaned_projects(client, state)
    finally:
        client.close()
