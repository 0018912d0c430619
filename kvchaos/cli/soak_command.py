"""The command `kvchaos soak`: runs of a mix until the budget is used, their signatures, the history."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from history.scenario import Scenario
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.campaign.campaign import clean_orphans
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.nightly_command import EXIT_INTERRUPTED
from kvchaos.cli.requested_server import DEFAULT_SERVER
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.planning.run_plan import make_run_dir
from kvchaos.planning.scenario_file import find_scenario, load_scenario, scenario_files
from kvchaos.servers.server_registry import ServerEnv, find_server
from kvchaos.stability.campaign_log import CampaignHeader, CampaignLog, resume_log, start_log
from kvchaos.stability.campaign_records import CampaignRun, StabilityNight
from kvchaos.stability.mix_sources import CONTROL, mix_of, one_server_mix
from kvchaos.stability.night_counts import night_line, signature_lines
from kvchaos.stability.night_repeats import known_failures
from kvchaos.stability.run_mix import RunMix
from kvchaos.stability.run_retention import keep_verdicts_only
from kvchaos.stability.stability_report import stability_report
from kvchaos.stability.stability_runner import StabilitySetup, run_stability_night
from kvchaos.stability.stability_store import StabilityHistory, append_stability, read_stability
from kvchaos.stability.stability_summary import stability_headlines, stability_markdown
from kvchaos.triage.result_files import write_text_file

SUMMARY = "stability.md"
EXIT_NOT_GREEN = 1


def soak_command(
    history: Annotated[Path, typer.Option(help="Folder of the history. It is created if it is missing.")],
    budget: Annotated[str, typer.Option("--for", help="Duration, such as 6h, 20m or 600s.")] = "6h",
    server: Annotated[
        str | None, typer.Option(help="Server environment (kvchaos server list). Default: 0.32.0.")
    ] = None,
    scenarios: Annotated[
        str | None,
        typer.Option(help="Scenarios for new seeds, commas between. Default: all local ones."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of an interrupted night. Go on with it.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for the night. Default: ./runs.")] = None,
    one_server: Annotated[
        bool,
        typer.Option("--one-server", help="Keep one server for all runs; report slopes."),
    ] = False,
) -> int:
    """Run scenarios with new seeds, earlier failures and known bugs until the budget is used.

    Exit code: 0 nothing unexpected and the positive control was found, 1 something unexpected, a figure that
    grows, or the control was missed, 3 bad input.
    """
    seconds, past, cache = parse_duration(budget), read_stability(history), cache_folder()
    environment = find_server(server or DEFAULT_SERVER, cache)
    chosen = local_scenarios(scenarios)
    log = _log(resume, runs, environment, seconds, one_server=one_server)
    setup = StabilitySetup(
        mix=_mix(log.header, chosen, past, environment),
        scenarios=chosen,
        server=environment,
        workspace=Workspace(cache=cache, runs=log.folder, port=None),
        one_server=log.header.one_server,
        known=known_failures(past.signatures),
    )
    console = Console(stderr=True)
    clean_orphans(setup.workspace, console)
    try:
        ended = run_stability_night(setup, log, seconds, console, _print_run)
    except KeyboardInterrupt:
        ended = False
    if not ended:
        typer.echo(f"interrupted after {len(log.runs)} runs; go on with --resume {log.folder}")
        return EXIT_INTERRUPTED
    return _finish(log, history)


def _mix(
    header: CampaignHeader, scenarios: Mapping[str, Scenario], past: StabilityHistory, server: ServerEnv
) -> RunMix:
    if header.one_server:
        return one_server_mix(header.night, scenarios)
    return mix_of(header.night, scenarios, past, known_bugs(), server.release)


def _log(
    resume: Path | None, runs: Path | None, server: ServerEnv, budget_s: float, *, one_server: bool
) -> CampaignLog:
    if resume is not None:
        log = resume_log(resume)
        if log.header.server != server.name:
            other = log.header.server
            raise UsageError(f"{resume}: is a night of {other}; give --server {other}")
        return log
    moment = datetime.now(UTC)
    parent = runs.absolute() if runs else runs_folder()
    folder = make_run_dir(parent, f"soak-{moment:%m%d-%H%M%S}-{secrets.token_hex(2)}")
    header = CampaignHeader(
        night=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        server=server.name,
        build=server.vllm,
        stack="local",
        budget_s=budget_s,
        one_server=one_server,
    )
    return start_log(folder, header)


def _finish(log: CampaignLog, history: Path) -> int:
    header = log.header
    folder = log.folder.name
    night = night_line(
        header.night,
        header.build,
        log.runs,
        log.used_s,
        complete=True,
        folder=folder,
        server=header.server,
    )
    lines = signature_lines(header.night, header.build, log.runs, header.server)
    append_stability(history, night, lines)
    if report := stability_report(history, log.folder.parent):
        write_text_file(history / SUMMARY, stability_markdown(report))
        for line in stability_headlines(report):
            typer.echo(f"{line.label}: {line.text}")
    reduced = keep_verdicts_only(log.folder, log.runs)
    typer.echo(f"{len(log.runs)} runs in {log.folder}, of {reduced} only the verdict is kept")
    return exit_code(night)


def exit_code(night: StabilityNight) -> int:
    """0 for a green night."""
    return 0 if night.is_green else EXIT_NOT_GREEN


def local_scenarios(names: str | None) -> dict[str, Scenario]:
    """The scenarios of new seeds and the positive control, by name. Raises UsageError."""
    paths = scenario_files() if names is None else [find_scenario(name.strip()) for name in names.split(",")]
    loaded = [load_scenario(path) for path in [*paths, find_scenario(CONTROL.scenario)]]
    return {scenario.name: scenario for scenario in loaded if "local" in scenario.stacks}


def _print_run(run: CampaignRun) -> None:
    choice = f"{run.number}: {run.category}: {run.scenario}, seed {run.seed}"
    signatures = "".join(f"; {each.signature}" for each in run.signatures)
    typer.echo(f"{choice}: {run.outcome}{signatures}")
