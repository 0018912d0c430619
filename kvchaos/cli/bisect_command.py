"""The command `kvchaos bisect`: the first and the last release that show the failure of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.triage_options import (
    EXIT_UNKNOWN,
    MaxRuns,
    RunDir,
    Runs,
    Signature,
    TriageFolder,
    logged_trials,
    triage_folder,
)
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder
from kvchaos.servers.server_registry import ServerEnv, find_server, list_servers
from kvchaos.triage.bisection_result import bisection_lines
from kvchaos.triage.issue_files import BISECTION
from kvchaos.triage.release_probes import ReleaseProber
from kvchaos.triage.repeated_trials import ConductedRun, NotShownAgain
from kvchaos.triage.result_files import result_path, write_json_file
from kvchaos.triage.triage_runner import FailingRun, read_failing_run


def bisect_command(
    run_dir: RunDir,
    good: Annotated[
        list[str] | None,
        typer.Option(help="Server environment that does not show it; it is not run. May be repeated."),
    ] = None,
    bad: Annotated[
        str | None, typer.Option(help="Server environment that shows it. Default: that of the run.")
    ] = None,
    releases: Annotated[
        str | None,
        typer.Option(
            help="Server environments, with commas between. Default: all that are installed or added."
        ),
    ] = None,
    duration: Annotated[str, typer.Option("--for", help="Time for all runs, such as 90s, 30m, 6h.")] = "1h",
    out: Annotated[
        Path | None,
        typer.Option(help="File for the result as JSON. Default: bisection.json next to the runs."),
    ] = None,
    signature: Signature = None,
    max_runs: MaxRuns = None,
    runs: Runs = None,
) -> int:
    """Find the first and the last release that show the failure of a run.

    The scenario of the run is run again on installed releases and own builds, in the order of their versions.
    A flaky failure is repeated until the probability that it was missed is below 1 %. Each run is logged: the
    same command goes on where a killed one has ended.

    Exit code: 0 both are known, 2 the failure did not show again or the budget was spent, 3 bad input.
    """
    budget = RunBudget(parse_duration(duration), max_runs)
    failing = read_failing_run(run_dir, signature)
    if failing.plan.stack != "local":
        raise UsageError(f"{run_dir}: its server ran in containers; bisect needs a run with --stack local")
    start = bad or failing.plan.versions.server_name
    servers = _servers(releases, start, good or [])
    names = [server.name for server in servers]
    folder = triage_folder("bisect", failing.plan.run_id, runs)
    path = result_path(out, folder.path / BISECTION)
    folder.print(f"failure: {failing.failure.signature}")
    with logged_trials(folder, "bisect", failing, start, budget) as trials:
        prober = ReleaseProber(servers, partial(_run_on, folder, failing), trials)
        absent = {names.index(name) for name in good or ()}
        try:
            bisection = prober.run(names.index(start), absent, failing.plan.run_id, failing.failure)
        except NotShownAgain as error:
            typer.echo(f"the failure did not show again on {start}: {error}; the runs are in {folder.path}")
            return EXIT_UNKNOWN
    write_json_file(path, bisection)
    for line in bisection_lines(bisection):
        typer.echo(line)
    typer.echo(f"as JSON: {path}")
    return EXIT_UNKNOWN if bisection.found is None else 0


def _servers(releases: str | None, start: str, good: Sequence[str]) -> list[ServerEnv]:
    """In the order of their versions, with those that other options name. Raises UsageError."""
    cache = cache_folder()
    if start in good:
        raise UsageError(f"--good {start}: the search starts there, since it shows the failure; leave it out")
    names = {start, *good}
    if releases is not None:
        names |= {name.strip() for name in releases.split(",")}
    else:
        names |= {server.name for server in list_servers(cache) if server.platform == "cpu"}
    servers = [find_server(name, cache) for name in names]
    return sorted(servers, key=lambda server: (server.release, server.name))


def _run_on(folder: TriageFolder, failing: FailingRun, server: ServerEnv) -> ConductedRun:
    return folder.runner(failing, server).conduct(failing.scenario)
