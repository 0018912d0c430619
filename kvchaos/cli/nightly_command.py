"""The command `kvchaos nightly`: measure a night, decide about it, keep the history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from history.scenario import ClientKind, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.bench.bench_runner import LoadOptions
from kvchaos.campaign.campaign import clean_orphans
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.night_branch_commands import fetch_history_command, publish_history_command
from kvchaos.cli.night_job_command import night_job_command
from kvchaos.cli.nightly_bisect_command import bisect_command
from kvchaos.cli.nightly_history_commands import (
    accept_command,
    creep_command,
    export_command,
    page_command,
)
from kvchaos.cli.nightly_proof_commands import prove_command
from kvchaos.cli.requested_server import DEFAULT_STACK, server_for
from kvchaos.cli.run_command import DEFAULT_CLIENT
from kvchaos.errors import UsageError
from kvchaos.nightly.decision import Decision
from kvchaos.nightly.night_changes import accepted_level, change_lines, earlier_noise
from kvchaos.nightly.night_records import Digest, Night, NightKind, NightPoint
from kvchaos.nightly.night_report import change_percent
from kvchaos.nightly.night_runner import EarlierNights, NightRunner, NightServer, NightSetup
from kvchaos.nightly.night_store import NightHistory, append_night, read_nights
from kvchaos.nightly.nightly_file import measured_scenario, read_nightly_file
from kvchaos.nightly.rejudging import differing_decisions
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.report.text_tables import plain_table, print_table

EXIT_REGRESSED, EXIT_BLIND, EXIT_INTERRUPTED = 1, 2, 130
app = typer.Typer(no_args_is_help=True, help="Track performance night by night.")
app.command("bisect")(bisect_command)

HistoryOption = Annotated[Path, typer.Option(help="Folder of the history. It is created if it is missing.")]


@app.command("run")
def run_night_command(
    file: Annotated[Path, typer.Argument(help="What to measure: a file such as examples/nightly.yaml.")],
    candidate: Annotated[
        str, typer.Option(help="Server environment to judge (kvchaos server list); with attach its URL.")
    ],
    control: Annotated[
        str, typer.Option(help="Pinned server environment to compare with; with attach its URL.")
    ],
    history: HistoryOption,
    budget: Annotated[
        str, typer.Option("--for", help="Longest duration of the night, such as 4h, 90m or 600s.")
    ] = "4h",
    kind: Annotated[
        Literal["auto", "comparison", "control"],
        typer.Option(
            help="comparison, or control: the control against itself. "
            "Default: control every seventh night, or as the file says."
        ),
    ] = "auto",
    stack: Annotated[StackName, typer.Option(help="Where the servers run.")] = DEFAULT_STACK,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of load workers.")] = 1,
    client: Annotated[ClientKind, typer.Option(help="Client that sends the load.")] = DEFAULT_CLIENT,
    runs: Annotated[Path | None, typer.Option(help="Folder for the runs. Default: ./runs.")] = None,
) -> int:
    """Measure a night: the candidate against the control, in interleaved pairs.

    Exit code: 0 nothing regressed, 1 a series regressed or a run was not as expected, 2 a series is blind or
    pairs are missing, 3 bad input.
    """
    seconds = parse_duration(budget)
    wanted = read_nightly_file(file)
    past = read_nights(history)
    scenarios = [measured_scenario(each, file.parent) for each in wanted.measurements]
    chosen = kind if kind != "auto" else due_kind(past, wanted.control_every)
    cache = cache_folder()
    pinned = night_server(stack, control, cache)
    judged = night_server(stack, candidate, cache)
    if chosen == "control":
        judged = control_side(stack, pinned, judged)
    workspace = Workspace(cache=cache, runs=runs.absolute() if runs else runs_folder(), port=None)
    console = Console(stderr=True)
    clean_orphans(workspace, console)
    setup = NightSetup(
        file=wanted,
        scenarios=scenarios,
        candidate=judged,
        control=pinned,
        kind=chosen,
        budget_s=seconds,
        workspace=workspace,
        stack=stack,
        load=LoadOptions(workers, client),
    )
    runner = NightRunner(setup, earlier_nights(past, chosen), console)
    night = runner.run()
    append_night(history, night, runner.points, change_lines(past, night, runner.points))
    print_points(runner.points)
    typer.echo(f"night {night.night} is stored in {history}")
    return EXIT_INTERRUPTED if runner.interrupted else exit_code(night, runner.points)


@app.command("judge")
def judge_nights_command(history: HistoryOption) -> int:
    """Decide about all stored pairs again, and report each decision that differs. Needs no server."""
    past = read_nights(history)
    differing = list(differing_decisions(past))
    for point, decision in differing:
        stored = point.decision.result if point.decision else "no decision"
        typer.echo(f"{point.night} {point.series}: stored {stored}, now {decision.result}")
    count = sum(point.role == "watch" for points in past.by_night.values() for point in points)
    typer.echo(f"{count} decisions of {len(past.nights)} nights; {len(differing)} differ")
    return 1 if differing else 0


app.command("prove")(prove_command)


def night_server(stack: StackName, name: str, cache: Path) -> NightServer:
    """The server of a name, or the one that runs at a URL. Raises UsageError."""
    if CAPABILITIES[stack].starts_server:
        return server_for(stack, None, name, cache)
    return server_for(stack, name, None, cache)


def control_side(stack: StackName, control: NightServer, candidate: NightServer) -> NightServer:
    """The second side of a control night: the control, or a second running server of its release.

    Raises UsageError for a running server of another release.
    """
    if CAPABILITIES[stack].starts_server:
        return control
    if candidate.vllm != control.vllm:
        raise UsageError(
            f"a control night compares {control.vllm} with itself; {candidate.name} runs {candidate.vllm}; "
            "attach a second server of the control, or give --kind comparison"
        )
    return candidate


def due_kind(past: NightHistory, control_every: int) -> NightKind:
    """A control night when so many nights less one came since the last one."""
    recent = past.nights[-(control_every - 1) :]
    if len(recent) < control_every - 1 or any(night.kind == "control" for night in recent):
        return "comparison"
    return "control"


def earlier_nights(past: NightHistory, kind: NightKind) -> EarlierNights:
    """What the history says of each series. A control night measures no candidate, so nothing is accepted."""

    def accepted(series: str, identity: Digest) -> float:
        return 0.0 if kind == "control" else accepted_level(past, series, identity)

    return EarlierNights(
        accepted=accepted,
        noise=lambda series, identity: earlier_noise(past, series, identity),
    )


def exit_code(night: Night, points: Sequence[NightPoint]) -> int:
    """1 for a regressed series or a run that is not as expected, 2 for a blind series or missing pairs."""
    results = {point.decision.result for point in points if point.decision is not None}
    broken = any("not as expected" in line for each in night.measured for line in each.excluded)
    if "regressed" in results or broken:
        return EXIT_REGRESSED
    return EXIT_BLIND if "blind" in results or not night.complete else 0


def print_points(points: Sequence[NightPoint]) -> None:
    """The watched series, one row each."""
    table = plain_table("series", "result", "control", "candidate", "slowdown", "visible from", "")
    for point in points:
        if point.decision is not None:
            table.add_row(*_row(point, point.decision))
    print_table(table)


def _row(point: NightPoint, decision: Decision) -> list[str]:
    def share(step: float | None) -> str:
        return "-" if step is None else f"{change_percent(step):+.1f} %"

    return [
        point.series,
        decision.result,
        f"{point.control:.4g} {point.unit}",
        f"{point.candidate:.4g} {point.unit}",
        share(decision.slowdown),
        share(decision.visible_step).lstrip("+"),
        decision.reason or "",
    ]


app.command("page")(page_command)
app.command("accept")(accept_command)
app.command("export")(export_command)
app.command("creep")(creep_command)
app.command("job")(night_job_command)
app.command("fetch")(fetch_history_command)
app.command("publish")(publish_history_command)
