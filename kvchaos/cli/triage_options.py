"""What `kvchaos shrink`, `bisect` and `reproduce` share: the failing run, folders, servers, the log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.campaign.campaign import clean_orphans
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.requested_server import server_for
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer
from kvchaos.triage.repeated_trials import RepeatedTrials
from kvchaos.triage.shrunk_scenario import scenario_digest
from kvchaos.triage.triage_runner import FailingRun, TriageRunner, TriageTarget
from kvchaos.triage.trial_log import FILE, TriageStart, TrialLog

EXIT_UNKNOWN = 2
RunDir = Annotated[Path, typer.Argument(help="Directory of a run that shows the failure.")]
Signature = Annotated[
    str | None,
    typer.Option(
        "--signature",
        help="Cause to look for, by its signature or rule. Default: the first that nothing explains.",
    ),
]
Runs = Annotated[Path | None, typer.Option(help="Folder for run directories. Default: ./runs.")]
MaxRuns = Annotated[
    int | None, typer.Option("--max-runs", min=1, help="Number of runs at most. Default: any.")
]


@dataclass(frozen=True, slots=True)
class TriageFolder:
    """Where the runs of a triage are, and what they need."""

    path: Path
    workspace: Workspace
    console: Console

    def runner(self, run: FailingRun, server: ServerEnv) -> TriageRunner:
        """For runs on one server."""
        same = server.name == run.plan.versions.server_name
        as_release = run.as_release if same else None
        return TriageRunner(TriageTarget(run, server, as_release), self.workspace, self.path, self.console)

    def print(self, line: str) -> None:
        """A line about the work, in addition to the result."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def discard(self, run: str) -> None:
        """Remove a run directory, if it is still there."""
        shutil.rmtree(self.path / run, ignore_errors=True)


def triage_folder(task: str, run_id: str, runs: Path | None) -> TriageFolder:
    """The folder of a triage, the same each time, so that a killed one goes on. Raises UsageError."""
    parent = runs.absolute() if runs else runs_folder()
    path = parent / f"{task}-{run_id}"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made: {error.strerror}; set KVCHAOS_RUNS to another") from error
    workspace = Workspace(cache=cache_folder(), runs=parent, port=None)
    console = Console(stderr=True)
    clean_orphans(workspace, console)
    return TriageFolder(path, workspace, console)


def triage_server(run: FailingRun, name: str | None) -> ServerEnv:
    """The server environment with this name, by default that of the run. Raises UsageError."""
    server = server_for(run.plan.stack, None, name or run.plan.versions.server_name, cache_folder())
    if isinstance(server, AttachedServer):
        raise UsageError("--server: only a server that kvchaos starts can be run again")
    return server


@contextmanager
def logged_trials(
    folder: TriageFolder, task: str, run: FailingRun, server: str, budget: RunBudget
) -> Iterator[RepeatedTrials]:
    """Runs that are logged in the folder; those of an earlier start count. Raises UsageError."""
    start = TriageStart(
        task=task,
        run=run.plan.run_id,
        failure=run.failure,
        seed=run.plan.seed,
        server=server,
        scenario=scenario_digest(run.scenario),
    )
    log = TrialLog(folder.path / FILE, start)
    try:
        if log.resumed:
            folder.print(f"{log.resumed} runs of an earlier start count; they are in {folder.path / FILE}")
        yield RepeatedTrials(log, budget, folder.discard, folder.print)
    finally:
        log.close()
