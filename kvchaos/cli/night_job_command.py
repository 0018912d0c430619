"""The command `kvchaos nightly job`: a whole night for a CI system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.cli.night_branch_commands import RepositoryOption
from kvchaos.errors import SIGNALS
from kvchaos.nightly.job.candidate_server import ensure_server
from kvchaos.nightly.job.git_plumbing import GitRepository
from kvchaos.nightly.job.history_branch import HistoryBranch, fetch_history
from kvchaos.nightly.job.night_job import SUMMARY, JobSettings, run_job, write_github_files
from kvchaos.paths import cache_folder, runs_folder
from kvchaos.servers.installation import shown


def night_job_command(
    file: Annotated[Path, typer.Argument(help="What to measure: a file such as examples/nightly.yaml.")],
    candidate: Annotated[
        str,
        typer.Option(
            help="Build to judge: a release, a registered environment, a wheel, a folder with a wheel or "
            "with vLLM's source, or git+URL@REF."
        ),
    ],
    control: Annotated[str, typer.Option(help="Pinned build to compare with, named like the candidate.")],
    history: Annotated[Path, typer.Option(help="Folder of the history. It is created if it is missing.")],
    out: Annotated[Path, typer.Option(help="Folder for page, summary, JUnit file, metrics, failing runs.")],
    budget: Annotated[
        str, typer.Option("--for", help="Longest duration of the night, such as 4h, 90m or 600s.")
    ] = "4h",
    soak: Annotated[
        str | None,
        typer.Option(help="Then search for failures of the candidate for so long. Default: no search."),
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for the runs. Default: ./runs.")] = None,
    repository: RepositoryOption = Path(),
    branch: Annotated[
        str | None, typer.Option(help="Fetch the history from this branch first. Default: fetch nothing.")
    ] = None,
) -> int:
    """Do one night as a job: install both servers, measure, write the page and the files for a CI system.

    On GitHub it also writes the outputs and the summary of the step.

    Exit code: that of `kvchaos nightly run`, or 3 where a server cannot be installed. If only the page fails,
    the code is that of `kvchaos nightly page`.
    """
    if branch is not None:
        lines = fetch_history(HistoryBranch(GitRepository(repository), branch), history)
        typer.echo(f"{lines} lines fetched from {branch}")
    settings = JobSettings(
        file=file,
        candidate=candidate,
        control=control,
        budget=budget,
        soak=soak,
        history=history,
        runs=runs.absolute() if runs else runs_folder(),
        out=out,
    )
    outcome = run_job(settings, run_kvchaos, server_named)
    write_github_files(os.environ, outcome, out / SUMMARY)
    detail = f": {outcome.detail}" if outcome.detail else ""
    typer.echo(f"job: {outcome.category}{detail}; see {out / SUMMARY}", err=outcome.exit_code != 0)
    return outcome.exit_code


def server_named(wanted: str) -> str:
    """Name of the server environment for a build, with the progress of its installation."""
    with shown(Console(stderr=True)) as progress:
        return ensure_server(wanted, cache_folder(), progress)


def run_kvchaos(arguments: Sequence[str]) -> int:
    """Exit code of a command of `kvchaos` in a process of its own, which gets the signals that end a job."""
    with subprocess.Popen([sys.executable, "-m", "kvchaos", *arguments]) as process, _forwarded(process):
        return process.wait()


@contextmanager
def _forwarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Send the signals that end a job on to a child, which cleans up and ends. A Ctrl-C reaches it twice."""

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
