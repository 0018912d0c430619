"""The commands of `kvchaos nightly` for the branch of the history: fetch it, publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvchaos.nightly.job.git_plumbing import GitRepository
from kvchaos.nightly.job.history_branch import BRANCH, HistoryBranch, fetch_history, publish_history

RepositoryOption = Annotated[
    Path, typer.Option(help="A clone of the repository with the branch; its remote `origin` is used.")
]
BranchOption = Annotated[str, typer.Option(help="Branch of the history. It is created if it is missing.")]


def publish_history_command(
    history: Annotated[Path, typer.Option(help="Folder of the history.")],
    repository: RepositoryOption = Path(),
    branch: BranchOption = BRANCH,
) -> None:
    """Add the lines of the history to its branch. Two jobs may publish at the same time."""
    done = publish_history(HistoryBranch(GitRepository(repository), branch), history)
    typer.echo(f"{done.lines} lines added to {branch}, {done.pushes} pushes")


def fetch_history_command(
    history: Annotated[Path, typer.Option(help="Folder of the history. It is created if it is missing.")],
    repository: RepositoryOption = Path(),
    branch: BranchOption = BRANCH,
) -> None:
    """Add the lines of the branch to the history."""
    lines = fetch_history(HistoryBranch(GitRepository(repository), branch), history)
    typer.echo(f"{lines} lines fetched from {branch}")
